// Players tell how they play (CMCD): `node cmcd.mjs http://HOST:PORT SECONDS`. hls.js plays `first` and tells it in version 1 by a parameter, and `second` in
// version 2 by headers; dash.js plays `third` in version 2 by a parameter; our own page plays `fourth` by FLV and tells it in its own way.
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { check, open, sleep, until } from './chromium.mjs';

const [server, seconds] = process.argv.slice(2);
const library = (path) => join(dirname(fileURLToPath(import.meta.url)), 'node_modules', path);

await open(async ({ newPage }) => {
  const empty = async (file) => {
    const page = await newPage('about:blank', [server, 'about:']);
    await page.setContent('<video muted></video>');
    await page.addScriptTag({ path: library(file) });
    return page;
  };
  const plays = (page) => until('a picture', 20, () => page.evaluate(() => document.querySelector('video').currentTime > 1));
  const hls = async (stream, cmcd) => {
    const page = await empty('hls-1.7/dist/hls.min.js');
    await page.evaluate(([url, options]) => {
      const player = new Hls({ cmcd: options });
      const video = document.querySelector('video');
      player.on(Hls.Events.MANIFEST_PARSED, () => video.play());
      player.loadSource(url);
      player.attachMedia(video);
    }, [`${server}/${stream}/live.m3u8`, cmcd]);
    return page;
  };
  const dash = async (stream) => {
    const page = await empty('dashjs/dist/modern/umd/dash.all.min.js');
    await page.evaluate((url) => {
      const player = dashjs.MediaPlayer().create();
      player.updateSettings({ streaming: { cmcd: { enabled: true, version: 2, mode: 'query', sid: 'dash-session' } } });
      player.initialize(document.querySelector('video'), url, true);
    }, `${server}/${stream}/manifest.mpd`);
    return page;
  };
  const pages = await Promise.all([
    hls('first', { sessionId: 'hls-session' }),
    hls('second', { sessionId: 'hls-second', version: 2, useHeaders: true }),
    dash('third'),
    newPage(`${server}/fourth/flv.html`),
  ]);
  await Promise.all(pages.map(plays));
  console.log('all play');
  const asked = [];
  pages[3].on('request', (request) => { if (request.url().includes('CMCD=')) asked.push(decodeURIComponent(request.url())); });
  await sleep(Number(seconds) * 1000);
  check(asked.length > 0 && asked.every((url) => url.includes('/live.json?CMCD=')), `our page asked: ${asked}`);
  check(asked.filter((url) => url.includes('msd=')).length <= 1, `its start is told more than once: ${asked}`);
  console.log(asked[0]);
});
