// Plays a page in headless Chromium and says which picture was on the screen when: `node numbered.mjs URL SECONDS`. The pictures hold their
// number in ten squares at their top, the lowest bit first. Prints `start`, once the page plays; a line `picture NUMBER WALL_MS` for each
// picture that was seen; `says WALL_MS SECONDS`, the delay that the page shows; `event ...` for what the page went through; figures at the end.
import { check, run, sleep, until } from './chromium.mjs';

const [url, seconds] = process.argv.slice(2);

// Runs in the page: reads the number of each picture that the compositor gets.
function watch() {
  const video = document.getElementById('video');
  const canvas = document.createElement('canvas');
  canvas.width = 320;
  canvas.height = 32;
  const context = canvas.getContext('2d', { willReadFrequently: true });
  window.seen = [];
  const onFrame = (now, metadata) => {
    // Of the picture's 180 lines the first 32 hold the number.
    context.drawImage(video, 0, 0, video.videoWidth, video.videoHeight * (32 / 180), 0, 0, 320, 32);
    let number = 0;
    let clear = true;
    for (let bit = 0; bit < 10; bit += 1) {
      const [luma] = context.getImageData(bit * 32 + 16, 16, 1, 1).data;
      if (luma > 160) number += 2 ** bit;
      clear = clear && (luma > 160 || luma < 90);
    }
    if (clear && number < 300) window.seen.push([number, performance.timeOrigin + metadata.expectedDisplayTime]);
    video.requestVideoFrameCallback(onFrame);
  };
  video.requestVideoFrameCallback(onFrame);
}

await run(url, async ({ page, state }) => {
  const opened = Date.now();
  await page.goto(url);
  await until('the page plays', 30, async () => (await state()).state === 'playing' && (await state()).frames > 0);
  console.log(`start ${Date.now() - opened}`);
  await page.evaluate(watch);
  const first = await state();
  let last = first.state;
  for (let i = 0; i < Number(seconds) * 4; i += 1) {
    await sleep(250);
    for (const [number, wall] of await page.evaluate(() => window.seen.splice(0))) console.log(`picture ${number} ${wall.toFixed(1)}`);
    const now = await state();
    if (now.latency > -10) console.log(`says ${now.wall} ${now.latency.toFixed(3)}`);
    if (now.state !== last) console.log(`event ${(i / 4).toFixed(1)} ${last} -> ${now.state}: ${now.message}`);
    last = now.state;
  }
  const end = await state();
  console.log(
    `${end.player}, ${end.codecs}: ${end.frames - first.frames} frames (${end.dropped - first.dropped} dropped), `
    + `${(end.time - first.time).toFixed(1)} s of stream in ${seconds} s; the page says ${end.latency.toFixed(2)} s behind, `
    + `${(end.bits / 1e6).toFixed(2)} Mbit/s, rate ${end.rate}, ${end.attempts} attempts; ${end.errors.length} errors: ${end.errors.join(' | ')}`,
  );
  check(end.state === 'playing', `at the end the page says ${end.state}: ${end.message}`);
});
