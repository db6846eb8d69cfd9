// A recording's manifest of DASH in players as they come: `node periods.mjs ORIGIN FOLDER`. dash.js and Shaka play all of it, over the change from one period
// to the next, and go back to the first one. Neither takes longer for the change than is seen, where the machine has time for them.
import { createRequire } from 'node:module';
import { check, open, until } from './chromium.mjs';

const [origin, folder] = process.argv.slice(2);
const shaka = createRequire(import.meta.url).resolve('shaka-player/dist/shaka-player.compiled.js');

const STALL_MAX_MS = 3000;

const PLAYERS = {
  'dash.js': {
    script: { url: `${origin}/.assets/dash-5.2.1.js` },
    open(video, url, note) {
      const player = dashjs.MediaPlayer().create();
      player.updateSettings({ debug: { logLevel: 0 } });
      player.on(dashjs.MediaPlayer.events.ERROR, (event) => note(`${event.error?.code} ${event.error?.message}`));
      player.initialize(video, url, true);
    },
  },
  shaka: {
    script: { path: shaka },
    async open(video, url, note) {
      shaka.polyfill.installAll();
      const player = new shaka.Player();
      await player.attach(video);
      player.addEventListener('error', (event) => note(`shaka ${event.detail.code} ${event.detail.data}`));
      await player.load(url);
      await video.play();
    },
  },
};

await open(async ({ newPage }) => {
  await Promise.all(Object.entries(PLAYERS).map(async ([name, player]) => {
    // A document of that path without scripts of its own.
    const page = await newPage(`${origin}${folder}/recording.json`);
    await plays(page, name, player);
    await page.close();
  }));
});

// Plays all of it, and goes back.
async function plays(page, name, { script, open: start }) {
  await page.addScriptTag(script);
  await page.evaluate(() => {
    const video = document.createElement('video');
    video.muted = true;
    document.body.replaceChildren(video);
    const seen = { errors: [], moved: performance.now(), worst: 0, time: -1, sizes: [] };
    setInterval(() => {
      const now = performance.now();
      const size = `${video.videoWidth}x${video.videoHeight}`;
      if (video.videoWidth && seen.sizes.at(-1) !== size) seen.sizes.push(size);
      if (video.currentTime !== seen.time) [seen.time, seen.moved] = [video.currentTime, now];
      else if (seen.time > 0 && !video.ended && !video.paused && !video.seeking) seen.worst = Math.max(seen.worst, now - seen.moved);
    }, 20);
    Object.assign(window, { video, seen });
  });
  await page.evaluate(`(${start.toString().replace(/^(async )?open/, '$1function open')})(video, 'manifest.mpd', (text) => seen.errors.push(text))`);
  const state = () => page.evaluate(() => ({
    ...seen, ended: video.ended, at: video.currentTime, duration: video.duration, error: video.error?.message, ready: video.readyState,
    held: [...Array(video.buffered.length).keys()].map((n) => [video.buffered.start(n), video.buffered.end(n)]),
    picture: video.webkitVideoDecodedByteCount, sound: video.webkitAudioDecodedByteCount,
  }));
  const withState = async (error) => { throw new Error(`${error.message}: ${JSON.stringify(await state())}`); };
  const last = await until(`${name} plays to the end`, 60, async () => {
    const now = await state();
    check(!now.error, `${name}: ${now.error}`);
    check(now.worst < STALL_MAX_MS, `${name} stands still`);
    return now.ended && now;
  }).catch(withState);
  console.log(`${name}: ${last.duration.toFixed(3)} s in ${last.sizes}, longest stall ${Math.round(last.worst)} ms; ${last.errors}`);
  check(last.errors.length === 0, `${name}: ${last.errors}`);
  check(last.sizes.join() === '320x180,640x360', `${name}: it showed ${last.sizes}`);
  check(last.picture > 0 && last.sound > 0, `${name}: of a track nothing was decoded: ${JSON.stringify(last)}`);
  // Back to the first period.
  await page.evaluate(() => { seen.sizes.length = 0; seen.worst = 0; video.currentTime = 1; video.play(); });
  await until(`${name} goes back`, 20, async () => { const now = await state(); return now.at > 2 && now.at < 5 && now.sizes.at(-1) === '320x180'; }).catch(withState);
}
