// A player is told to switch between the levels of a stream with renditions, whose pictures hold their number (see `numbered.mjs`):
// `node switches.mjs PLAYER SERVER/ID SECONDS`; the players are below. Prints a line of JSON: which levels there were and were played, how often it
// switched, the longest time that the picture stood still, and the longest run of numbers that were not shown.
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { check, open, sleep, until } from './chromium.mjs';

const [name, server, seconds] = process.argv.slice(2);
const modules = join(dirname(fileURLToPath(import.meta.url)), 'node_modules');
// A switch comes with the next segment: two of them fit.
const SWITCH_MS = 5000;

// Each runs in the page, and gives `levels()`, `choose(n)` for one of them, and says by `seen.switched` which is played.
const hls = {
  module: 'hls-1.7',
  file: 'dist/hls.min.js',
  url: 'index.m3u8',
  open(url, video, seen, options) {
    const hls = new Hls(options);
    hls.on(Hls.Events.ERROR, (_, data) => seen.errors.push(`${data.details}${data.fatal ? ' (fatal)' : ''}`));
    hls.on(Hls.Events.MANIFEST_PARSED, () => video.play());
    hls.on(Hls.Events.LEVEL_SWITCHED, (_, data) => seen.switched.push(data.level));
    hls.loadSource(url);
    hls.attachMedia(video);
    return { levels: () => hls.levels.length, choose: (n) => { hls.loadLevel = n; } };
  },
};
const PLAYERS = {
  'hls-1.7': hls,
  'hls-1.7-segments': { ...hls, options: { lowLatencyMode: false } },
  dashjs: {
    file: 'dist/modern/umd/dash.all.min.js',
    url: 'index.mpd',
    open(url, video, seen) {
      const player = dashjs.MediaPlayer().create();
      player.updateSettings({ streaming: { abr: { autoSwitchBitrate: { video: false } } } });
      player.on('error', (event) => seen.errors.push(`${event.error?.code} ${event.error?.message} (fatal)`));
      player.on('qualityChangeRendered', (event) => {
        if (event.mediaType === 'video') seen.switched.push(event.newRepresentation.id);
      });
      player.initialize(video, url, true);
      const all = () => (player.isReady() ? player.getRepresentationsByType('video') : []);
      return { levels: () => all().length, choose: (n) => player.setRepresentationForTypeById('video', all()[n].id) };
    },
  },
  'shaka-player': {
    file: 'dist/shaka-player.compiled.js',
    url: 'index.mpd',
    open(url, video, seen) {
      shaka.polyfill.installAll();
      const player = new shaka.Player();
      const say = () => seen.switched.push(player.getVariantTracks().find((track) => track.active)?.height);
      player.addEventListener('error', (event) => seen.errors.push(`shaka ${event.detail.code} ${event.detail.data?.slice(0, 2)} (fatal)`));
      player.addEventListener('variantchanged', say);
      player.attach(video).then(() => {
        player.configure({ abr: { enabled: false } });
        return player.load(url);
      }).then(() => video.play()).catch((error) => seen.errors.push(`shaka ${error.code ?? error.message} (fatal)`));
      const all = () => player.getVariantTracks();
      return { levels: () => all().length, choose: (n) => player.selectVariantTrack(all()[n], false) };
    },
  },
};

const player = PLAYERS[name];
check(player, `no player ${name}; there are ${Object.keys(PLAYERS).join(', ')}`);
const module = player.module ?? name;
const { version } = createRequire(import.meta.url)(join(modules, module, 'package.json'));

// Runs in the page: what is seen of the picture.
function watch(video, seen) {
  const canvas = document.createElement('canvas');
  canvas.width = 320;
  canvas.height = 32;
  const context = canvas.getContext('2d', { willReadFrequently: true });
  let last = null;
  const onFrame = () => {
    context.drawImage(video, 0, 0, video.videoWidth, video.videoHeight * (32 / 180), 0, 0, 320, 32);
    let number = 0;
    let clear = true;
    for (let bit = 0; bit < 10; bit += 1) {
      const [luma] = context.getImageData(bit * 32 + 16, 16, 1, 1).data;
      if (luma > 160) number += 2 ** bit;
      clear = clear && (luma > 160 || luma < 90);
    }
    seen.shown += 1;
    if (clear && number < 300) {
      seen.read += 1;
      // Numbers begin again after 300.
      const step = last === null ? 1 : (number - last + 300) % 300;
      if (seen.counts && step > 150) seen.back = Math.max(seen.back, 300 - step);
      else if (seen.counts) seen.missing = Math.max(seen.missing, step - 1);
      last = number;
    }
    video.requestVideoFrameCallback(onFrame);
  };
  video.requestVideoFrameCallback(onFrame);
  let still = performance.now();
  let at = 0;
  setInterval(() => {
    const size = `${video.videoWidth}x${video.videoHeight}`;
    if (video.videoWidth && seen.sizes.at(-1) !== size) seen.sizes.push(size);
    if (video.currentTime !== at) {
      if (at && seen.counts) seen.longest = Math.max(seen.longest, performance.now() - still);
      still = performance.now();
      at = video.currentTime;
    }
  }, 20);
}

await open(async ({ first }) => {
  const page = first(server);
  // A document of the server's own origin, with nothing in it.
  await page.goto(new URL('/time', server).href);
  await page.addScriptTag({ content: readFileSync(join(modules, module, player.file), 'utf8') });
  await page.evaluate(`(${(url, open, watch, options) => {
    const video = document.body.appendChild(document.createElement('video'));
    video.muted = true;
    const seen = { sizes: [], errors: [], switched: [], longest: 0, shown: 0, read: 0, missing: 0, back: 0, counts: false };
    watch(video, seen);
    Object.assign(window, { seen, video, player: open(url, video, seen, options) });
  }})(${JSON.stringify(`${server}/${player.url}`)}, ${`(function ${player.open.toString().replace(/^open/, '')})`}, ${watch}, ${JSON.stringify(player.options ?? {})})`);
  await until('it plays', 20, () => page.evaluate(() => video.currentTime > 0.5 && player.levels() > 1)).catch(async (error) => {
    const state = await page.evaluate(() => ({
      ...seen, at: video.currentTime, ready: video.readyState, levels: player.levels(),
      held: [...Array(video.buffered.length).keys()].map((n) => [video.buffered.start(n), video.buffered.end(n)]),
    }));
    throw new Error(`${error.message}: ${JSON.stringify(state)}`);
  });
  await sleep(2000);
  await page.evaluate(() => { seen.counts = true; });
  const end = Date.now() + Number(seconds) * 1000;
  for (let n = 0; Date.now() < end; n += 1) {
    await page.evaluate((n) => player.choose(n % player.levels()), n);
    await sleep(SWITCH_MS);
  }
  const seen = await page.evaluate(() => ({ ...seen, levels: player.levels() }));
  console.log(JSON.stringify({ player: `${name} ${version}`, ...seen, longest: Math.round(seen.longest) }));
  check(seen.switched.length > 2, `it did not switch: ${seen.switched}`);
});
