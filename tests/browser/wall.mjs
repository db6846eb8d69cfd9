// Drives the wall of streams in headless Chromium: `node wall.mjs URL SECONDS`. With https:// all streams have to come over one connection
// of HTTP/2, else by WebSocket. Every tile has to advance for so long; the last stream of the
// address is not on air, and says so. Prints `slowest SECONDS` (of stream, by the tile that advanced least) and `still SECONDS` (the longest time that a
// tile did not advance), which the test judges; exit status 1 says what else is wrong.
import { check, run, sleep, until } from './chromium.mjs';

const [url, seconds] = process.argv.slice(2);
const secure = url.startsWith('https:');

await run(url, async ({ page, context }) => {
  const wall = () => page.evaluate(() => JSON.parse(JSON.stringify(window.millstreamWall.tiles)));
  const sockets = new Set();
  page.on('websocket', (socket) => sockets.add(socket.url()));
  // By what and over which connection each stream comes.
  const connections = new Set();
  if (secure) {
    const devtools = await context.newCDPSession(page);
    await devtools.send('Network.enable');
    devtools.on('Network.responseReceived', ({ response }) => {
      if (new URL(response.url).pathname.endsWith('/live.flv')) connections.add(`${response.protocol} ${response.connectionId}`);
    });
  }
  await page.goto(url);
  const opened = Date.now();
  const playing = await until('all streams but the last play', 40, async () => {
    const tiles = await wall();
    return tiles.slice(0, -1).every((tile) => tile.state === 'playing' && tile.frames > 0) && tiles;
  }).catch(async (error) => { throw new Error(`${error.message}: ${JSON.stringify(await wall())}`); });
  console.log(`${playing.length - 1} pictures ${((Date.now() - opened) / 1000).toFixed(1)} s after the page`);
  check(playing.every((tile) => tile.url.startsWith(secure ? 'https://' : 'ws://') && tile.muted), 'a tile is heard, or does not play as it should');
  if (secure) {
    console.log(`connections: ${[...connections].join(', ')}`);
    check(connections.size === 1 && [...connections][0].startsWith('h2 '), `not one connection of HTTP/2: ${[...connections].join(', ')}`);
  }
  let last = await wall();
  const first = last;
  const missed = last.map(() => 0);
  let longest = 0;
  for (let second = 0; second < Number(seconds); second += 2) {
    await sleep(2000);
    const now = await wall();
    now.slice(0, -1).forEach((tile, n) => {
      const advances = tile.state === 'playing' && tile.currentTime > last[n].currentTime && tile.frames > last[n].frames;
      missed[n] = advances ? 0 : missed[n] + 1;
      longest = Math.max(longest, missed[n]);
      if (missed[n] > 1) console.log(`stands still: ${tile.id} after ${second + 2} s: ${JSON.stringify(tile)}`);
    });
    last = now;
  }
  const gone = (n) => last[n].currentTime - first[n].currentTime;
  const all = last.slice(0, -1).map((_, n) => gone(n)).sort((a, b) => a - b);
  const frames = last.slice(0, -1).map((tile, n) => tile.frames - first[n].frames).sort((a, b) => a - b);
  console.log(`${all.length} streams advanced by ${all[0].toFixed(1)} to ${all.at(-1).toFixed(1)} s and ${frames[0]} to ${frames.at(-1)} pictures in ${seconds} s`);
  console.log(`slowest ${all[0]}\nstill ${longest * 2}`);
  check(last.slice(0, -1).every((tile) => tile.attempts === 1), `a stream was lost: ${JSON.stringify(last)}`);
  const absent = await until('the last says that it is not on air', 10, async () => {
    const tile = (await wall()).at(-1);
    return tile.words === 'not on air' && tile;
  });
  check(absent.attempts <= 8, `${absent.attempts} attempts at a stream that is not on air: the page does not wait between them`);
  // One is enlarged and heard, by the mouse and by the keyboard, and no more than one.
  await page.click('figure:nth-child(3)');
  check(JSON.stringify(await page.evaluate(() => [...document.querySelectorAll('video')].filter((v) => !v.muted).length)) === '1', 'not one is heard');
  check(await page.evaluate(() => document.querySelector('figure:nth-child(3)').classList.contains('large')), 'a click does not enlarge');
  await page.keyboard.press('Escape');
  check(await page.evaluate(() => [...document.querySelectorAll('video')].every((v) => v.muted) && !document.querySelector('.large')), 'Escape does not go back');
  await page.focus('figure:nth-child(2)');
  await page.keyboard.press('Enter');
  check((await page.evaluate(() => window.millstreamWall.enlarged)) === last[1].id, 'Enter does not enlarge');
  if (process.env.MILLSTREAM_SHOT) await page.screenshot({ path: `${process.env.MILLSTREAM_SHOT}-wall.png` });
  // Whatever the number of streams, all are seen at once, and none lies over another.
  await page.setViewportSize({ width: 1366, height: 768 });
  for (const count of [1, 2, 3, 4, 7, all.length].filter((some) => some <= all.length)) {
    const address = new URL(url);
    address.searchParams.set('streams', last.slice(0, count).map((tile) => tile.id).join(','));
    await page.goto(address.href);
    await until(`${count} tiles are there`, 10, async () => (await wall()).length === count);
    const { boxes, scrolls } = await page.evaluate(() => ({
      boxes: [...document.querySelectorAll('figure')].map((one) => one.getBoundingClientRect().toJSON()),
      scrolls: document.getElementById('wall').scrollHeight > document.getElementById('wall').clientHeight,
    }));
    const over = (a, b) => a.left < b.right - 1 && b.left < a.right - 1 && a.top < b.bottom - 1 && b.top < a.bottom - 1;
    check(!boxes.some((a, n) => boxes.slice(n + 1).some((b) => over(a, b))), `of ${count} tiles one lies over another: ${JSON.stringify(boxes)}`);
    check(!scrolls && boxes.every((box) => box.bottom <= 768 && box.width > 100), `${count} tiles do not fit: ${JSON.stringify(boxes)}`);
  }
  check(secure ? sockets.size === 0 : sockets.size >= all.length, `${sockets.size} WebSockets for ${all.length} streams`);
});
