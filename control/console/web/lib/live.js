// What is on air, asked for while somebody is logged in and looks at the page: often for views that show it, now and then for the charts.
import { get, link, session } from './api.js';
import { sample } from './samples.js';
import { value } from './value.js';

const SHOWN_MS = 2000;
const ELSE_MS = 10000;

// As `useAsked` gives it.
export const live = value({ data: null, problem: null, busy: true });

let watched = 0;
let timer = 0;
let run = 0;

async function ask(mine) {
  if (!session.get()) return;
  let wait = watched ? SHOWN_MS : ELSE_MS;
  if (!document.hidden) {
    try {
      const data = await get('live?limit=500');
      if (run !== mine) return;
      sample(data.items);
      live.set({ data, problem: null, busy: false });
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

// A view shows it from now on, until the function that this gives is called.
export function watch() {
  watched += 1;
  again();
  return () => { watched -= 1; };
}

export function follow() {
  session.follow((now) => {
    live.set({ data: null, problem: null, busy: true });
    if (now) again();
  });
  link.follow((now) => { if (now === 'up') again(); });
  document.addEventListener('visibilitychange', () => { if (!document.hidden) again(); });
}
