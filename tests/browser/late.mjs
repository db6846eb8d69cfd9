// A page that plays one track alone, to which the other comes: `node late.mjs picture|sound URL`. Exit status 1 says why.
import { check, run, sleep, until } from './chromium.mjs';

const [what, url] = process.argv.slice(2);

await run(url, async ({ page, state }) => {
  await page.goto(url);
  // What the browser has decoded of each track: Chromium counts it.
  const decoded = () => page.evaluate(() => {
    const video = document.querySelector('video');
    return { picture: video.videoWidth && video.webkitVideoDecodedByteCount, sound: video.webkitAudioDecodedByteCount };
  });
  await until('it plays', 8, async () => (await state()).state === 'playing' && (await state()).time > 0.5);
  check(!(await decoded())[what], `the ${what} was there before it came`);
  await until(`the ${what} comes`, 20, async () => (await decoded())[what] > 0 && (await state()).state === 'playing');
  await sleep(500);
  const [first, before] = [await state(), await decoded()];
  await sleep(2000);
  const [last, after] = [await state(), await decoded()];
  console.log(`${last.player}, ${last.codecs}: ${last.frames - first.frames} frames in 2 s, after ${last.attempts} attempts; errors: ${last.errors}`);
  check(last.state === 'playing' && last.frames - first.frames > 30, `it stands still: ${last.state} ${last.message}`);
  check(after.sound > before.sound, 'no sound is decoded');
  // The page starts its player again for the new track; a player that fails over it would show as an error.
  // hls.js tells of what it mends itself, too.
  const fatal = last.errors.filter((error) => !/^late: |^[a-z]+Error: /.test(error));
  check(fatal.length === 0, `the player failed: ${fatal}`);
});
