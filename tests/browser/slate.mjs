// Plays a page in headless Chromium and says what is on the screen: `node slate.mjs URL SECONDS`. Prints `start` once the page plays, a line
// `shows slate|stream WALL_MS` whenever that changes, and figures at the end. The slate is the built-in one: nearly all of it is of one dark
// colour, which the test picture has nowhere.
import { check, run, sleep, until } from './chromium.mjs';

const [url, seconds] = process.argv.slice(2);

// Runs in the page: looks at every picture that the compositor gets.
function watch() {
  const video = document.getElementById('video');
  const canvas = document.createElement('canvas');
  [canvas.width, canvas.height] = [16, 9];
  const context = canvas.getContext('2d', { willReadFrequently: true });
  window.seen = [];
  let last = '';
  const onFrame = (now, metadata) => {
    context.drawImage(video, 0, 0, 16, 9);
    const { data } = context.getImageData(0, 0, 16, 9);
    let dark = 0;
    for (let at = 0; at < data.length; at += 4) {
      const off = Math.abs(data[at] - 0x14) + Math.abs(data[at + 1] - 0x18) + Math.abs(data[at + 2] - 0x1f);
      if (off < 40) dark += 1;
    }
    const shown = dark > 100 ? 'slate' : 'stream';
    if (shown !== last) window.seen.push([shown, performance.timeOrigin + metadata.expectedDisplayTime]);
    last = shown;
    video.requestVideoFrameCallback(onFrame);
  };
  video.requestVideoFrameCallback(onFrame);
}

await run(url, async ({ page, state }) => {
  const loads = [];
  page.on('framenavigated', () => loads.push(Date.now()));
  await page.goto(url);
  await until('the page plays', 30, async () => (await state()).state === 'playing' && (await state()).frames > 0);
  await page.evaluate(watch);
  console.log('start');
  const first = await state();
  let last = first.state;
  for (let i = 0; i < Number(seconds) * 10; i += 1) {
    await sleep(100);
    for (const [shown, wall] of await page.evaluate(() => window.seen.splice(0))) console.log(`shows ${shown} ${wall.toFixed(1)}`);
    const now = await state();
    if (now.state !== last) console.log(`event ${(i / 10).toFixed(1)} ${last} -> ${now.state}: ${now.message}`);
    last = now.state;
  }
  const end = await state();
  console.log(`${end.player}, ${end.codecs}: ${end.attempts} attempts; ${end.errors.length} errors: ${end.errors.join(' | ')}`);
  check(loads.length === 1, `the page was loaded ${loads.length} times`);
  check(end.state === 'playing', `at the end the page says ${end.state}: ${end.message}`);
});
