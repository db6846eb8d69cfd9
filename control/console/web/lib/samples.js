// What was on air in the last minutes, for charts: filled while the page is open, some hundred points a stream, gone with the page.
const KEPT_MAX = 300;
// A stream that has not been seen for so long is forgotten.
const FORGET_MS = 10 * 60000;

const streams = new Map();

export const viewersOf = (live) => live.viewers.reduce((sum, one) => sum + one.count, 0);

export function sample(items) {
  const now = Date.now();
  for (const live of items) {
    const key = `${live.id}/${live.node}`;
    const kept = streams.get(key) ?? { bitrate: [], viewers: [], fps: [], jitter: [] };
    if (kept.at === now) continue;
    kept.at = now;
    const add = (name, n) => {
      kept[name].push([now, n]);
      if (kept[name].length > KEPT_MAX) kept[name].shift();
    };
    add('bitrate', live.publisher?.bitrate_bps ?? 0);
    add('viewers', viewersOf(live));
    add('fps', live.publisher?.video?.fps ?? 0);
    add('jitter', live.publisher?.jitter_ms ?? 0);
    streams.set(key, kept);
  }
  for (const [key, kept] of streams) if (now - kept.at > FORGET_MS) streams.delete(key);
}

export const samplesOf = (live) => streams.get(`${live.id}/${live.node}`) ?? { bitrate: [], viewers: [], fps: [], jitter: [] };
