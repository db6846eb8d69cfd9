// What is on air, asked for while somebody is logged in and looks at the page: often for views that show it, now and then for the charts.
import { get, link, query, session } from './api.js';
import { sample } from './samples.js';
import { value } from './value.js';

const SHOWN_MS = 2000;
const ELSE_MS = 10000;
const PAGE = 500;
const PAGES_MAX = 10;
// Charts are kept of so many: points of thousands would fill the page's memory.
const SAMPLED_MAX = 500;

// As `useAsked` gives it.
export const live = value({ data: null, problem: null, busy: true });

let watched = 0;
let quick = 0;
let timer = 0;
let run = 0;

// All that is on air, up to so many pages, or as much as charts take where no view shows it; where there is more, `next` says so.
async function all() {
  const found = new Map();
  let next;
  for (let pages = 0; pages < (watched ? PAGES_MAX : 1); pages += 1) {
    const page = await get(`live${query({ limit: PAGE, cursor: next })}`);
    // What moves from page to page meanwhile comes once.
    page.items.forEach((one) => found.set(`${one.id}/${one.node}`, one));
    next = page.next;
    if (!next) break;
  }
  return { items: [...found.values()], next };
}

async function ask(mine) {
  if (!session.get()) return;
  let wait = quick ? SHOWN_MS : ELSE_MS;
  if (!document.hidden) {
    try {
      const data = await all();
      if (run !== mine) return;
      sample(data.items.slice(0, SAMPLED_MAX));
      live.set({ data, problem: null, busy: false });
      // What takes several questions is asked less often.
      if (data.items.length > PAGE) wait = Math.max(wait, ELSE_MS);
    } catch (problem) {
      if (run !== mine) return;
      live.set({ ...live.get(), problem, busy: false });
      wait = Math.max(wait, (problem.retryS ?? 0) * 1000);
    }
  }
  if (run === mine) timer = setTimeout(() => ask(mine), wait);
}

export function again() {
  run += 1;
  clearTimeout(timer);
  ask(run);
}

// A view shows it from now on, until the function that this gives is called: figures that move, or who is there.
export function watch(moves = true) {
  watched += 1;
  quick += moves ? 1 : 0;
  again();
  return () => {
    watched -= 1;
    quick -= moves ? 1 : 0;
  };
}

export function follow() {
  session.follow((now) => {
    live.set({ data: null, problem: null, busy: true });
    if (now) again();
  });
  link.follow((now) => { if (now === 'up') again(); });
  document.addEventListener('visibilitychange', () => { if (!document.hidden) again(); });
}
