// How streams were on air, for charts: what control has kept of the last hour, and behind it what this page has seen since it was opened.
import { useEffect, useMemo, useRef } from 'preact/hooks';
import { seg } from './api.js';
import { useAsked } from './use.js';

const FIGURES = ['bitrate', 'viewers', 'fps', 'jitter'];
// So many of this page's own a stream: the newest ten minutes.
const KEPT_MAX = 300;
// A stream that has not been seen for so long is forgotten.
const FORGET_MS = 10 * 60000;
// Control is asked again before this page forgets what it saw after the last answer.
const ASK_MS = 5 * 60000;
// Points further apart than this have a time between them in which the stream was not on air.
const APART_MS = 25000;

const streams = new Map();

export const viewersOf = (live) => live.viewers.reduce((sum, one) => sum + one.count, 0);

const figuresOf = (live, at) => ({
  at,
  bitrate: live.publisher?.bitrate_bps ?? 0,
  fps: live.publisher?.video?.fps ?? 0,
  jitter: live.publisher?.jitter_ms ?? 0,
});
const told = (one) => ({ at: one.at_unix_ms, bitrate: one.bitrate_bps, viewers: one.viewers, fps: one.fps, jitter: one.jitter_ms });

// Viewers are those of all nodes that are among them, as control counts them.
export function sample(items) {
  const now = Date.now();
  const viewers = new Map();
  for (const live of items) viewers.set(live.id, (viewers.get(live.id) ?? 0) + viewersOf(live));
  for (const live of items) {
    const key = `${live.id}/${live.node}`;
    // What a page does not see while nobody looks at it, control has.
    const before = streams.get(key) ?? [];
    const kept = now - (before.at(-1)?.at ?? now) > APART_MS ? [] : before;
    if (kept.at(-1)?.at === now) continue;
    // What is measured of a session is not there in its first moments.
    if (live.publisher && !live.publisher.bitrate_bps) continue;
    kept.push({ ...figuresOf(live, now), viewers: viewers.get(live.id) });
    if (kept.length > KEPT_MAX) kept.shift();
    streams.set(key, kept);
  }
  for (const [key, kept] of streams) if (now - kept.at(-1).at > FORGET_MS) streams.delete(key);
}

// Columns: times in seconds, and each figure; a row without figures where the stream was not on air. Of two clocks, control's is taken for its points.
function columns(past, own) {
  const until = own[0]?.at ?? Infinity;
  const rows = past.map(told).filter((row) => row.at < until).concat(own);
  const made = { at: [], ...Object.fromEntries(FIGURES.map((name) => [name, []])) };
  const add = (at, row) => {
    made.at.push(at / 1000);
    // Without media there are viewers who wait, and nothing else to measure.
    FIGURES.forEach((name) => made[name].push(row && (row.bitrate || name === 'viewers') ? row[name] : null));
  };
  rows.forEach((row, n) => {
    const before = rows[n - 1]?.at;
    if (before !== undefined && row.at - before > APART_MS) add((before + row.at) / 2, null);
    add(row.at, row);
  });
  return made;
}

// Of a stream, and what this page has seen of it at a node; control is asked while `wanted`, and when this page begins anew.
export function useSamples(id, node, wanted = true) {
  const own = streams.get(`${id}/${node}`) ?? [];
  const asked = useAsked(wanted ? `streams/${seg(id)}/time-series` : null, ASK_MS);
  const began = own[0]?.at;
  const since = useRef(began);
  useEffect(() => {
    // The first one is asked for anyway, and those that are dropped one by one change nothing.
    if (since.current !== undefined && began - since.current > APART_MS && own.length === 1) asked.again();
    since.current = began;
  }, [began]);
  return useMemo(() => columns(asked.data?.items ?? [], own), [asked.data, own.at(-1)?.at, id, node]);
}
