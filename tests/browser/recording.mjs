// The page of a recording that is over: `node recording.mjs URL`. It plays from the beginning, is taken near the end, plays on to there, and says what it is.
import { check, open, until } from './chromium.mjs';

const [url] = process.argv.slice(2);

await open(async ({ newPage }) => {
  const page = await newPage(url);
  const state = () => page.evaluate(() => {
    const video = document.getElementById('video');
    const { state, message, errors } = window.millstream ?? {};
    return {
      state, message, errors, at: video.currentTime, duration: video.duration, ended: video.ended, width: video.videoWidth,
      picture: video.webkitVideoDecodedByteCount, sound: video.webkitAudioDecodedByteCount,
      length: document.getElementById('length').textContent, codecs: document.getElementById('codecs').textContent,
    };
  });
  const sees = (what, wanted) => until(what, 20, async () => {
    const now = await state();
    return wanted(now) && now;
  }).catch(async (error) => { throw new Error(`${error.message}: ${JSON.stringify(await state())}`); });
  await sees('the page has the recording', (now) => now.state === 'playing' && now.duration > 0);
  await page.evaluate(() => {
    const video = document.getElementById('video');
    video.muted = true;
    return video.play();
  });
  const begun = await sees('it plays', (now) => now.at > 1);
  check(begun.at < 5 && begun.width > 0, `it begins at its beginning, with a picture: ${JSON.stringify(begun)}`);
  await page.evaluate(() => {
    const video = document.getElementById('video');
    video.currentTime = video.duration - 1.5;
  });
  const last = await sees('it plays to its end', (now) => now.ended);
  console.log(JSON.stringify(last));
  check(last.picture > 0 && last.sound > 0, 'of a track nothing was decoded');
  check(last.length !== '–' && last.codecs !== '–', 'the page does not say what the recording is');
  check(!last.message, last.message);
});
