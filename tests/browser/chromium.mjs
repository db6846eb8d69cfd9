// What the scenarios share: headless Chromium with a page in it, and what is noticed about the page while it is open.
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { chromium } from 'playwright-core';

export const sleep = (ms) => new Promise((done) => setTimeout(done, ms));

export function check(condition, text) {
  if (!condition) throw new Error(text);
}

export async function until(what, seconds, attempt) {
  const end = Date.now() + seconds * 1000;
  for (;;) {
    const value = await attempt();
    if (value) return value;
    if (Date.now() > end) throw new Error(`not within ${seconds} s: ${what}`);
    await sleep(50);
  }
}

// Headless Chromium with a profile of its own, closed in the end; the scenario's error is printed, and is the process's exit status. What the
// pages that `newPage` opens complain about, or ask for elsewhere, is an error too.
export async function open(scenario, describe = () => '') {
  const profile = mkdtempSync(join(tmpdir(), 'millstream-chromium-'));
  const context = await chromium.launchPersistentContext(profile, {
    executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
    headless: true,
    // Those of a server under test are signed by an authority of the test.
    ignoreHTTPSErrors: true,
    args: [
      '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
      '--disable-component-update', '--disable-sync', '--autoplay-policy=no-user-gesture-required',
    ],
  });
  // Files of the console from this directory instead of those that are built in: for who works on them.
  const files = process.env.MILLSTREAM_CONSOLE_FILES;
  if (files) {
    await context.route('**/console/*/**', (route) => {
      const path = join(files, ...new URL(route.request().url()).pathname.split('/').slice(3));
      return existsSync(path) ? route.fulfill({ path }) : route.continue();
    });
  }
  const complaints = [];
  const outside = [];
  // `also`: other origins that the page may ask.
  const watch = (page, url, also = []) => {
    const own = [new URL(url).origin, ...also, 'blob:', 'data:'];
    page.on('pageerror', (error) => complaints.push(`page error: ${error.message}`));
    page.on('console', (line) => {
      if (/content security policy/i.test(line.text())) complaints.push(line.text());
    });
    page.on('request', (request) => {
      if (!own.some((origin) => request.url().startsWith(origin))) outside.push(request.url());
    });
    return page;
  };
  const newPage = async (url, also) => {
    const page = watch(await context.newPage(), url, also);
    await page.goto(url);
    return page;
  };
  try {
    await scenario({ context, newPage, first: (url) => watch(context.pages()[0], url) });
    check(complaints.length === 0, complaints.join('; '));
    check(outside.length === 0, `asked elsewhere: ${outside}`);
  } catch (error) {
    console.error(error.message);
    console.error(await describe());
    process.exitCode = 1;
  } finally {
    await context.close();
    rmSync(profile, { recursive: true, force: true });
  }
}

// Runs a scenario with one page, which it opens itself; its error is printed with what the page says of itself.
export async function run(url, scenario) {
  let page;
  const state = () => page.evaluate(() => ({
    wall: Date.now(),
    way: window.millstream.way,
    state: window.millstream.state,
    message: window.millstream.message,
    shown: document.getElementById('message').textContent,
    time: window.millstream.currentTime,
    frames: window.millstream.frames,
    dropped: window.millstream.dropped,
    latency: window.millstream.latency,
    bits: window.millstream.bitsPerSecond,
    errors: window.millstream.errors,
    attempts: window.millstream.attempts,
    player: window.millstream.player,
    codecs: window.millstream.codecs,
    rate: document.getElementById('video').playbackRate,
  }));
  const describe = () => state().catch(() => 'the page has no state');
  await open(async ({ context, first }) => {
    page = first(url);
    await scenario({ page, context, state });
  }, describe);
}
