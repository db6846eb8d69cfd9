// A page that plays sound alone, to which a picture comes: `node late.mjs URL`. Exit status 1 says why.
import { check, run, sleep, until } from './chromium.mjs';

const [url] = process.argv.slice(2);

await run(url, async ({ page, state }) => {
  await page.goto(url);
  const width = () => page.evaluate(() => document.querySelector('video').videoWidth);
  await until('the sound plays', 8, async () => (await state()).state === 'playing' && (await state()).time > 0.5);
  check((await width()) === 0, 'the picture was there before it came');
  await until('the picture is shown', 20, async () => (await width()) > 0 && (await state()).frames > 0);
  const first = await state();
  await sleep(2000);
  const last = await state();
  console.log(`${last.frames - first.frames} frames in 2 s, after ${last.attempts} attempts; errors: ${last.errors}`);
  check(last.state === 'playing' && last.frames - first.frames > 30, `it stands still: ${last.state} ${last.message}`);
});
