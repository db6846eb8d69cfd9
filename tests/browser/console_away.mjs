// The console while its server is restarted: `node console_away.mjs URL TOKEN`, with a stream "cam" on air at a node of its own. Who runs it kills control when this
// says "kill it", starts it again when it says "start it", and begins the stream "second" when it says "publish".
import { check, open, sleep, until } from './chromium.mjs';
import { apiOf, handles, step } from './console_page.mjs';

const [url, token] = process.argv.slice(2);
const api = apiOf(url, token);

await open(async ({ newPage }) => {
  const { items: [{ http_url: play }] } = await api('GET', 'nodes');
  const page = await newPage(url, [play]);
  const { go, logIn, main } = handles(page);
  await logIn(token);
  await page.waitForSelector('[data-stream=cam]');
  await go('#/streams/cam/settings');
  await page.fill('input[name=videoname]', 'Typed before it went');
  await go('#/streams/cam/now');
  const preview = page.locator('.preview').first();
  await until('the preview plays', 20, async () => await preview.getAttribute('data-state') === 'playing');
  const frames = () => page.locator('.preview video').evaluate((video) => video.getVideoPlaybackQuality().totalVideoFrames);

  step('kill it');
  await page.waitForSelector('.link.down', { timeout: 20000 });
  const before = await frames();
  await sleep(2000);
  check(await frames() > before + 10, 'the picture comes from the node, and stands still all the same');
  check((await main()).includes('on air'), 'what was known is gone');
  await page.evaluate(() => { location.hash = '#/streams/cam/settings'; });
  await page.waitForSelector('input[name=videoname]');
  check(await page.inputValue('input[name=videoname]') === 'Typed before it went', 'the draft is lost');
  await page.click('.bar button.primary');
  await page.waitForSelector('.bar .why, main .why');
  check(await page.inputValue('input[name=videoname]') === 'Typed before it went', 'a failure lost what was typed');

  step('start it');
  await page.waitForSelector('.link.back', { timeout: 30000 });
  check(await page.inputValue('input[name=videoname]') === 'Typed before it went', 'the return lost what was typed');
  await page.click('.bar button.primary');
  await page.waitForSelector('.bar [role=status]:has-text("Saved"), dialog .login', { timeout: 15000 });
  check(await page.locator('dialog .login').count() === 0, 'a restart ends logins');
  check((await api('GET', 'streams/cam')).settings.videoname === 'Typed before it went', 'it is not saved');

  step('publish');
  await go('#/live');
  await page.waitForSelector('[data-stream=second]', { timeout: 30000 });
  await page.waitForSelector('.events li[data-kind=publish]:has-text("second")', { timeout: 15000 });
  await until('both have moving pictures', 20, async () => await page.locator('.preview[data-state=playing]').count() === 2);
});
