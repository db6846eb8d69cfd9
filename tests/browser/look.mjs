// What visitors see and read, besides the picture: `node look.mjs ORIGIN`. The server has `cam` and `bare` on air, `bare` is given out as FLV only, and `dark` not as FLV.
import { createServer } from 'node:http';
import { check, open, until } from './chromium.mjs';

const [origin] = process.argv.slice(2);
const shots = process.env.MILLSTREAM_SHOT;

const state = (frame) => frame.evaluate(() => window.millstream?.state);
const plays = (frame) => until('the picture plays', 30, async () => (await state(frame)) === 'playing');
const inView = (page, selector) => page.evaluate((wanted) => {
  const all = [...document.querySelectorAll(wanted)].map((one) => one.getBoundingClientRect());
  return all.length > 0 && all.every((box) => box.top >= 0 && box.bottom <= innerHeight && box.left >= 0 && box.right <= innerWidth);
}, selector);

await open(async ({ context, newPage }) => {
  // A stream's address without a page's name leads to the page, with what stands behind it.
  const page = await newPage(`${origin}/cam/?token=a%2Bb&x=`);
  check(page.url() === `${origin}/cam/index.html?token=a%2Bb&x=`, `the address became ${page.url()}`);
  await plays(page);
  for (const [width, height] of [[1366, 768], [1920, 1080], [1280, 600], [390, 844]]) {
    await page.setViewportSize({ width, height });
    check(await inView(page, 'video, #figures dd, nav button'), `at ${width}x${height} something is out of view`);
    if (shots) await page.screenshot({ path: `${shots}-${width}.png` });
  }
  const figures = await page.evaluate(() => document.getElementById('figures').textContent);
  check(/from server to screen/.test(figures), `the delay is called what it is: ${figures}`);
  await page.close();

  // Of what is switched off the page says so, and where else to go.
  for (const [name, title] of [['hls', 'HLS'], ['dash', 'DASH']]) {
    const off = await newPage(`${origin}/bare/${name}.html?a=b`);
    await until('it says that the output is off', 10, async () => (await state(off)) === 'off');
    const said = await off.textContent('#message');
    check(said === `${title} is switched off for this stream.`, `the visitor reads ${said}`);
    if (shots) await off.screenshot({ path: `${shots}-off.png` });
    await off.click('#other');
    await off.waitForURL(`${origin}/bare/index.html?a=b`);
    await plays(off);
    check(await off.isDisabled(`[data-choose="${name}"]`), `the button for ${name} can be pressed`);
    await off.close();
  }

  // A tile of the wall says why it shows nothing.
  const wall = await newPage(`${origin}/wall.html?streams=cam,dark,nobody`);
  const words = () => wall.evaluate(() => window.millstreamWall.tiles.map((tile) => tile.words).join(', '));
  await until('each tile says what is the matter', 15, async () => (await words()) === 'live, switched off for this stream, not on air')
    .catch(async (error) => { throw new Error(`${error.message}: ${await words()}`); });
  if (shots) await wall.screenshot({ path: `${shots}-wall-off.png` });
  await wall.close();

  // In a page of another origin there is the picture and nothing else.
  const server = createServer((_, answer) => {
    answer.setHeader('Content-Type', 'text/html');
    answer.end(`<iframe src="${origin}/cam/index.html?embed=1" width="480" height="270"></iframe>`);
  });
  await new Promise((listening) => server.listen(0, '127.0.0.1', listening));
  const host = await context.newPage();
  await host.goto(`http://127.0.0.1:${server.address().port}/`);
  const frame = host.frames()[1];
  await plays(frame);
  for (const hidden of ['header', 'nav', '#figures']) {
    check(!(await frame.isVisible(hidden)), `${hidden} is in sight though the page is embedded`);
  }
  const size = await frame.evaluate(() => {
    const { width, height } = document.getElementById('video').getBoundingClientRect();
    return [width, height, document.documentElement.scrollWidth, document.documentElement.scrollHeight];
  });
  check(size.join() === '480,270,480,270', `the picture and the page are ${size}`);
  await host.close();
  server.close();

  // The server's own page takes a name to its player, and complains in words.
  const home = await newPage(`${origin}/`);
  check(!/cam|bare/.test(await home.content()), 'the page of the server names streams');
  await home.fill('#stream', '../cam');
  await home.keyboard.press('Enter');
  check(/letters, digits/.test(await home.textContent('#message')), 'a name that cannot be is taken');
  await home.fill('#stream', 'cam');
  await home.keyboard.press('Enter');
  await home.waitForURL(`${origin}/cam/index.html`);
  await home.close();
  console.log('all as it should look');
});
