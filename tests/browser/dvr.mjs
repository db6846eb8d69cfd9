// hls.js as it comes, in the past of a stream that is recorded: `node dvr.mjs ORIGIN`. It plays `cam` at the live edge, goes back to the beginning, forth
// half the way, and to the live edge again, twice. It stands still for no longer than a second, but for the moment after a jump.
import { check, open, sleep, until } from './chromium.mjs';

const [origin] = process.argv.slice(2);
const STALL_MAX_MS = 1000;
// From a jump to the picture.
const JUMP_MAX_MS = 3000;
const PLAY_MS = 3000;

await open(async ({ newPage }) => {
  // A document of that path without scripts of its own.
  const page = await newPage(`${origin}/cam/live.json`);
  await page.addScriptTag({ url: `${origin}/.assets/hls-1.7.4.js` });
  await page.evaluate(async () => {
    const video = document.createElement('video');
    video.muted = true;
    document.body.replaceChildren(video);
    const hls = new Hls({ enableWorker: false });
    const seen = { errors: [], moved: performance.now(), worst: 0, time: -1, jumped: null };
    hls.on(Hls.Events.ERROR, (_event, data) => {
      const of = data.part?.url ?? data.frag?.url;
      const what = [data.details, data.response?.code, of && `${of} of ${data.frag.start} s`].filter(Boolean).join(' ');
      seen.errors.push(what + (data.fatal ? ' (fatal)' : ''));
    });
    hls.on(Hls.Events.MANIFEST_PARSED, () => video.play());
    hls.loadSource('dvr.m3u8');
    hls.attachMedia(video);
    setInterval(() => {
      const now = performance.now();
      if (video.currentTime !== seen.time && !video.seeking) {
        if (seen.jumped !== null && video.currentTime > seen.jumped + 0.1) seen.took = now - seen.since, seen.jumped = null;
        [seen.time, seen.moved] = [video.currentTime, now];
      } else if (seen.jumped === null && seen.time > 0) seen.worst = Math.max(seen.worst, now - seen.moved);
    }, 20);
    Object.assign(window, { hls, video, seen });
  });
  const ask = (what) => page.evaluate(what);
  await until('it plays', 20, () => ask('video.currentTime > 0 && !video.paused && Boolean(hls.liveSyncPosition)'));
  await sleep(3000);
  const details = '(hls.levels[Math.max(0, hls.currentLevel)].details)';
  const start = await ask(`${details}.fragments[0].start`);
  check((await ask('hls.liveSyncPosition')) - start > 25, 'it reaches back');
  const places = [
    ['the beginning', `${details}.fragments[0].start + 0.5`],
    ['half the way', `(${details}.fragments[0].start + hls.liveSyncPosition) / 2`],
    ['the live edge', 'hls.liveSyncPosition'],
    ['the beginning again', `${details}.fragments[0].start + 0.5`],
    ['the live edge again', 'hls.liveSyncPosition'],
  ];
  for (const [name, place] of places) {
    const to = await ask(`(() => { const to = ${place}; Object.assign(seen, { worst: 0, took: null, jumped: to, since: performance.now() }); video.currentTime = to; return to; })()`);
    await until(`a picture at ${name}`, 20, () => ask('seen.took !== null'));
    await sleep(PLAY_MS);
    const { took, worst, time, errors } = await ask('seen');
    console.log(`${name}: a picture after ${Math.round(took)} ms, longest stall ${Math.round(worst)} ms, played ${(time - to).toFixed(1)} s`);
    check(took < JUMP_MAX_MS, `${name}: ${took} ms to the picture`);
    check(worst < STALL_MAX_MS, `${name}: it stood still for ${worst} ms; ${errors}`);
    check(time - to > PLAY_MS / 1000 - 2, `${name}: it played ${time - to} s`);
    check(!errors.some((error) => /fatal|levelParsing|levelLoadError|fragLoadError/.test(error)), `${errors}`);
  }
  console.log(`told: ${[...new Set(await ask('seen.errors'))]}`);
});
