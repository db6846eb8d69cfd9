// Plays a file in headless Chromium by ranges: `node file.mjs URL [LAST_S] [FIRST_MS]`. Prints how soon its first picture is there, within FIRST_MS (5000), and
// plays its last seconds (else two fifths of it); exit status 1 says why it does not.
import { check, open, until } from './chromium.mjs';

const [url, lastS, firstMs = '5000'] = process.argv.slice(2);

await open(async ({ first }) => {
  const page = first(url);
  const answers = [];
  page.on('response', (answer) => answers.push(`${answer.status()} ${answer.request().headers().range ?? '-'}`));
  await page.setContent('<video muted playsinline></video>');
  const shown = await page.evaluate((src) => new Promise((done, failed) => {
    const video = document.querySelector('video');
    const since = performance.now();
    video.requestVideoFrameCallback(() => done({ ms: Math.round(performance.now() - since), duration: video.duration }));
    video.onerror = () => failed(new Error(`${video.error.code} ${video.error.message}`));
    video.src = src;
    video.play().catch(failed);
  }), url);
  console.log(`first picture after ${shown.ms} ms of ${shown.duration.toFixed(3)} s; ${answers.length} answers: ${answers.join(', ')}`);
  check(shown.ms < Number(firstMs), `a first picture after ${shown.ms} ms`);
  check(answers.every((answer) => answer.startsWith('206')), `not by ranges: ${answers}`);
  // Seeking shows another picture, and it plays from there to its end.
  const from = lastS ? shown.duration - Number(lastS) : shown.duration * 0.6;
  await page.evaluate((at) => { document.querySelector('video').currentTime = at; }, from);
  const state = () => page.evaluate(() => {
    const { currentTime, duration, ended, error } = document.querySelector('video');
    const decoded = document.querySelector('video');
    return { currentTime, duration, ended, error: error?.message, picture: decoded.webkitVideoDecodedByteCount, sound: decoded.webkitAudioDecodedByteCount };
  });
  const last = await until('it plays to its end', 20, async () => {
    const now = await state();
    check(!now.error, now.error);
    return now.ended && now;
  }).catch(async (error) => { throw new Error(`${error.message}: ${JSON.stringify(await state())}`); });
  check(Math.abs(last.currentTime - last.duration) < 0.1, JSON.stringify(last));
  check(last.picture > 0 && last.sound > 0, `of a track nothing was decoded: ${JSON.stringify(last)}`);
});
