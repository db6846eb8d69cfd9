// hls.js is told to switch between the levels of a multivariant playlist: `node switches.mjs HLS-PACKAGE SERVER/ID SECONDS`. Prints, per line of JSON,
// which sizes were shown, how often it switched, and the longest time that the picture stood still between two samples.
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { check, open, sleep, until } from './chromium.mjs';

const [name, server, seconds] = process.argv.slice(2);
const modules = join(dirname(fileURLToPath(import.meta.url)), 'node_modules');
const { version } = createRequire(import.meta.url)(join(modules, name, 'package.json'));
// A switch comes with the next segment: two of them fit.
const SWITCH_MS = 5000;

await open(async ({ first }) => {
  const page = first(server);
  // A document of the server's own origin, with nothing in it.
  await page.goto(new URL('/time', server).href);
  await page.addScriptTag({ content: readFileSync(join(modules, name, 'dist/hls.min.js'), 'utf8') });
  await page.evaluate((url) => {
    const video = document.body.appendChild(document.createElement('video'));
    video.muted = true;
    const hls = new Hls();
    const seen = { sizes: [], errors: [], levels: 0, switched: [] };
    hls.on(Hls.Events.ERROR, (_, data) => seen.errors.push(`${data.details}${data.fatal ? ' (fatal)' : ''}`));
    hls.on(Hls.Events.MANIFEST_PARSED, (_, data) => {
      seen.levels = data.levels.length;
      video.play();
    });
    hls.on(Hls.Events.LEVEL_SWITCHED, (_, data) => seen.switched.push(data.level));
    hls.loadSource(url);
    hls.attachMedia(video);
    let still = performance.now();
    let at = 0;
    seen.longest = 0;
    setInterval(() => {
      const size = `${video.videoWidth}x${video.videoHeight}`;
      if (video.videoWidth && seen.sizes.at(-1) !== size) seen.sizes.push(size);
      if (video.currentTime !== at) {
        if (at && seen.counts) seen.longest = Math.max(seen.longest, performance.now() - still);
        still = performance.now();
        at = video.currentTime;
      }
    }, 20);
    Object.assign(window, { hls, seen, video });
  }, `${server}/index.m3u8`);
  await until('it plays', 20, () => page.evaluate(() => video.currentTime > 0.5 && seen.levels > 1));
  await sleep(2000);
  await page.evaluate(() => { seen.counts = true; });
  const end = Date.now() + Number(seconds) * 1000;
  for (let n = 0; Date.now() < end; n += 1) {
    await page.evaluate((n) => { hls.nextLevel = n % hls.levels.length; }, n);
    await sleep(SWITCH_MS);
  }
  const seen = await page.evaluate(() => ({ ...seen, frames: video.getVideoPlaybackQuality() }));
  console.log(JSON.stringify({ player: `${name} ${version}`, ...seen, frames: undefined, longest: Math.round(seen.longest) }));
  check(seen.switched.length > 2, `it did not switch: ${seen.switched}`);
});
