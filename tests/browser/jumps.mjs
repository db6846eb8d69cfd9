// Plays several pages at once in headless Chromium and says how long the picture stood still: `node jumps.mjs SECONDS URL...`. Prints `start` once
// all of them play, and in the end for each `page NAME PICTURES LONGEST_MS AT_S ...`: how many pictures were shown since, and the longest time between
// two of them. Exit status 1: a page does not play at the end.
import { check, open, sleep, until } from './chromium.mjs';

const [seconds, ...urls] = process.argv.slice(2);

// Runs in the page: notes when pictures are shown.
function watch() {
  const video = document.getElementById('video');
  window.seen = [];
  const onFrame = (now, { expectedDisplayTime, presentedFrames }) => {
    window.seen.push([expectedDisplayTime, presentedFrames]);
    video.requestVideoFrameCallback(onFrame);
  };
  video.requestVideoFrameCallback(onFrame);
}

await open(async ({ newPage }) => {
  const pages = [];
  for (const url of urls) pages.push({ name: new URL(url).pathname.split('/').pop(), page: await newPage(url) });
  const state = ({ page }) => page.evaluate(() => ({
    state: window.millstream.state, frames: window.millstream.frames, errors: window.millstream.errors, attempts: window.millstream.attempts,
  }));
  for (const one of pages) {
    await until(`${one.name} plays`, 30, async () => (await state(one)).state === 'playing' && (await state(one)).frames > 0);
  }
  await Promise.all(pages.map(({ page }) => page.evaluate(watch)));
  console.log('start');
  await sleep(Number(seconds) * 1000);
  for (const one of pages) {
    // The next picture tells how long there was none, and how many the page was not told of.
    const { seen, now } = await one.page.evaluate(async () => {
      const count = window.seen.length;
      const end = performance.now() + 3000;
      while (window.seen.length === count && performance.now() < end) await new Promise((done) => { setTimeout(done, 20); });
      return { seen: window.seen, now: window.seen.length === count ? performance.now() : window.seen.at(-1)[0] };
    });
    check(seen.length > 1, `${one.name} shows no picture`);
    // Between two callbacks pictures may have been shown that the page was not told of.
    const gaps = seen.slice(1).map(([at, shown], n) => [(at - seen[n][0]) / Math.max(1, shown - seen[n][1]), seen[n][0]]);
    gaps.push([now - seen.at(-1)[0], seen.at(-1)[0]]);
    gaps.sort(([a], [b]) => b - a);
    const end = await state(one);
    const pictures = seen.at(-1)[1] - seen[0][1] + 1;
    console.log(`page ${one.name} ${pictures} ${gaps[0][0].toFixed(0)} ${((gaps[0][1] - seen[0][0]) / 1000).toFixed(1)} `
      + `${gaps.slice(1, 4).map(([gap]) => gap.toFixed(0))}; ${end.attempts} attempts; ${end.errors.length} errors: ${end.errors.join(' | ')}`);
    check(end.state === 'playing', `${one.name} says ${end.state} at the end`);
  }
});
