// Hooks of preact for what is asked of the API: once, again and again, and page after page.
import { useCallback, useEffect, useRef, useState } from 'preact/hooks';
import { get, link, query } from './api.js';

// Asks again when control is back, where it did not answer.
export function useBack(problem, again) {
  const missed = useRef(null);
  missed.current = problem?.status === 0 ? again : null;
  useEffect(() => link.follow((now) => { if (now === 'up') missed.current?.(); }), []);
}

// The answer to a request, asked again every `everyMs` while the page is looked at. An answer that fails keeps the last good one. `from` asks.
export function useAsked(path, everyMs = 0, from = get) {
  const [state, set] = useState({ data: null, problem: null, busy: true });
  const [round, next] = useState(0);
  const asked = useRef(path);
  useEffect(() => {
    if (asked.current !== path) {
      // What is known of one thing is not shown as another's.
      asked.current = path;
      set({ data: null, problem: null, busy: true });
    }
    if (path === null) return undefined;
    let open = true;
    let timer = 0;
    // A page that was not looked at for longer than that has missed its turn.
    let due = false;
    const leave = new AbortController();
    const ask = async () => {
      let wait = everyMs;
      due = document.hidden && everyMs > 0;
      if (!due) {
        try {
          const data = await from(path, { signal: leave.signal });
          if (open) set({ data, problem: null, busy: false });
        } catch (problem) {
          if (!open) return;
          set((old) => ({ ...old, problem, busy: false }));
          wait = Math.max(everyMs, everyMs && (problem.retryS ?? 0) * 1000);
        }
      }
      if (open && wait) timer = setTimeout(ask, wait);
    };
    ask();
    const seen = () => {
      if (document.hidden || !due) return;
      clearTimeout(timer);
      ask();
    };
    document.addEventListener('visibilitychange', seen);
    return () => {
      open = false;
      document.removeEventListener('visibilitychange', seen);
      leave.abort();
      clearTimeout(timer);
    };
  }, [path, everyMs, round]);
  const put = useCallback((data) => set({ data, problem: null, busy: false }), []);
  const again = useCallback(() => next((n) => n + 1), []);
  useBack(state.problem, again);
  return { ...state, again, put };
}

const PAGE = 50;
// Pages that a search reads for one screen of matches before it asks whether to go on.
const SEARCHED_PAGES_MAX = 40;

// A list in pages: `matches` leaves out what is not looked for, and then pages are read until a screen is full.
export function useList(path, { params = {}, matches = null, limit = PAGE } = {}) {
  const [state, set] = useState({ items: [], next: null, problem: null, busy: true });
  const [round, next] = useState(0);
  const run = useRef(0);
  const key = JSON.stringify([path, params, limit]);
  const asked = useRef({});
  // `shown` is there until the first page is.
  const read = async (mine, items, cursor, shown = null) => {
    set({ ...(shown ?? { items, next: cursor }), problem: null, busy: true });
    const wanted = Math.max(items.length + limit, shown?.items.length ?? 0);
    let at = cursor;
    try {
      for (let pages = 0; pages < SEARCHED_PAGES_MAX; pages += 1) {
        const page = await get(path + query({ ...params, limit: matches ? 500 : limit, cursor: at }));
        if (run.current !== mine) return;
        items = items.concat(matches ? page.items.filter(matches) : page.items);
        at = page.next;
        if (!at || items.length >= wanted) break;
      }
      set({ items, next: at, problem: null, busy: false });
    } catch (problem) {
      if (run.current === mine) set({ ...(shown ?? { items, next: at }), problem, busy: false });
    }
  };
  useEffect(() => {
    run.current += 1;
    const same = asked.current.key === key && asked.current.matches === matches;
    asked.current = { key, matches };
    read(run.current, [], undefined, same ? { items: state.items, next: state.next } : null);
    return () => { run.current += 1; };
  }, [key, matches, round]);
  const again = useCallback(() => next((n) => n + 1), []);
  useBack(state.problem, again);
  return { ...state, more: () => read(run.current, state.items, state.next), again };
}
