// Plays one stream by two ways in headless Chromium: `node repaired.mjs URL-OF-THE-STREAM/`. Exit status 1 says why.
import { check, run, sleep, until } from './chromium.mjs';

const [base] = process.argv.slice(2);

await run(base, async ({ page, state }) => {
  for (const name of ['flv.html', 'hls.html']) {
    await page.goto(base + name);
    await until(`${name} plays`, 20, async () => (await state()).state === 'playing' && (await state()).frames > 0);
    const first = await state();
    await sleep(4000);
    const last = await state();
    console.log(`${name}: ${last.codecs}, ${last.frames - first.frames} frames and ${(last.time - first.time).toFixed(1)} s of stream in 4 s`);
    check(last.state === 'playing' && last.errors.length === 0, `${name}: ${last.state} ${last.errors}`);
    check(last.time - first.time > 3 && last.frames - first.frames > 60, `${name} stands still`);
    // Sound is decoded: Chromium counts its bytes.
    const heard = await page.evaluate(() => document.querySelector('video').webkitAudioDecodedByteCount);
    check(heard > 10000, `${name}: ${heard} bytes of sound were decoded`);
  }
});
