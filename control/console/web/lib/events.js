// Events as they happen: the API's event stream, read with fetch, because `EventSource` does not tell why it was refused. One for all views.
import { link, request, session } from './api.js';
import { value } from './value.js';

const KEPT_MAX = 300;
const RETRY_FIRST_MS = 1000;
const RETRY_MAX_MS = 15000;
// A page that nobody looks at gives its place back: a token has sixteen.
const HIDDEN_MS = 60000;
// Something comes at least every 15 s.
const SILENT_MS = 40000;

// The newest first.
export const events = value([]);

let last = 'none';
let running = null;
let waiting = [];

function publish() {
  const came = waiting;
  waiting = [];
  if (came.length) events.set(came.reverse().concat(events.get()).slice(0, KEPT_MAX));
}

function take(text) {
  const field = (name) => text.split('\n').filter((line) => line.startsWith(`${name}: `)).map((line) => line.slice(name.length + 2)).join('\n');
  const data = field('data');
  if (!data) return;
  const first = last === 'none';
  last = field('id') || last;
  try {
    const told = JSON.parse(data);
    if (field('event') === 'lost') {
      // Who comes for the first time has missed nothing that was on this page.
      if (!first) waiting.push({ lost: true, number: `lost-${Date.now()}`, at_unix_ms: Date.now(), what: { kind: 'lost', reason: told.reason } });
    } else {
      waiting.push(told);
    }
  } catch { /* An event that is no JSON is of no use. */ }
  if (waiting.length === 1) setTimeout(publish, 100);
}

async function listen(leave) {
  const answer = await request('GET', 'events', { headers: { 'Last-Event-ID': last }, signal: leave.signal });
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = '';
  for (;;) {
    const silent = setTimeout(() => leave.abort(), SILENT_MS);
    const { done, value: piece } = await reader.read().finally(() => clearTimeout(silent));
    if (done) return;
    const parts = (rest + piece).split('\n\n');
    rest = parts.pop();
    parts.forEach(take);
  }
}

async function run(mine) {
  let retryMs = RETRY_FIRST_MS;
  while (running === mine) {
    const began = Date.now();
    try {
      mine.leave = new AbortController();
      await listen(mine.leave);
    } catch (problem) {
      if (problem.retryS) retryMs = Math.max(retryMs, problem.retryS * 1000);
    }
    if (running !== mine) return;
    if (Date.now() - began > RETRY_MAX_MS) retryMs = RETRY_FIRST_MS;
    await new Promise((done) => { setTimeout(done, retryMs); });
    retryMs = Math.min(retryMs * 2, RETRY_MAX_MS);
  }
}

function stop() {
  running?.leave?.abort();
  running = null;
}

function start() {
  if (running || !session.get() || document.hidden) return;
  running = {};
  run(running);
}

export function follow() {
  let hidden = 0;
  document.addEventListener('visibilitychange', () => {
    clearTimeout(hidden);
    if (document.hidden) hidden = setTimeout(stop, HIDDEN_MS);
    else start();
  });
  session.follow((now) => {
    if (now) start();
    else {
      stop();
      events.set([]);
      last = 'none';
    }
  });
  // Control is back: what happened meanwhile is asked for at once.
  link.follow((now) => {
    if (now !== 'up' || !running) return;
    stop();
    start();
  });
  start();
}
