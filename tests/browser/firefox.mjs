// Debian's Firefox without a window, through Marionette, the protocol that it speaks itself: length-prefixed JSON over TCP.
import { spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { until } from './chromium.mjs';

const PREFERENCES = {
  // The port is the system's to choose; Firefox writes it into its profile.
  'marionette.port': 0,
  'media.autoplay.default': 0,
  'media.autoplay.blocking_policy': 0,
  'browser.shell.checkDefaultBrowser': false,
  'browser.startup.homepage_override.mstone': 'ignore',
  'datareporting.policy.dataSubmissionEnabled': false,
  'toolkit.telemetry.reportingpolicy.firstRun': false,
  'app.update.auto': false,
  'app.normandy.enabled': false,
  'network.captive-portal-service.enabled': false,
  'network.connectivity-service.enabled': false,
  // The time of a picture is worth nothing in steps of 16 ms.
  'privacy.reduceTimerPrecision': false,

};

class Connection {
  constructor(socket) {
    this.socket = socket;
    this.waiting = new Map();
    this.next = 1;
    let unread = Buffer.alloc(0);
    socket.on('data', (data) => {
      unread = Buffer.concat([unread, data]);
      for (;;) {
        const colon = unread.indexOf(':');
        if (colon < 0) return;
        const end = colon + 1 + Number(unread.subarray(0, colon));
        if (unread.length < end) return;
        const said = JSON.parse(unread.subarray(colon + 1, end));
        unread = unread.subarray(end);
        // The first thing said is a greeting, not an answer.
        if (Array.isArray(said)) this.answered(said);
      }
    });
  }

  answered([, id, error, result]) {
    const { done, failed } = this.waiting.get(id);
    this.waiting.delete(id);
    if (error) failed(new Error(`Firefox: ${error.message}`));
    else done(result);
  }

  ask(name, parameters = {}) {
    const id = this.next;
    this.next += 1;
    const text = JSON.stringify([0, id, name, parameters]);
    this.socket.write(`${Buffer.byteLength(text)}:${text}`);
    return new Promise((done, failed) => { this.waiting.set(id, { done, failed }); });
  }
}

// A Firefox with one page: `goto`, `evaluate` and `close`, as those of Playwright.
export async function openFirefox() {
  const profile = mkdtempSync(join(tmpdir(), 'millstream-firefox-'));
  const lines = Object.entries(PREFERENCES).map(([name, value]) => `user_pref(${JSON.stringify(name)}, ${JSON.stringify(value)});`);
  writeFileSync(join(profile, 'user.js'), lines.join('\n'));
  const child = spawn(process.env.FIREFOX ?? '/usr/bin/firefox-esr', ['--headless', '--marionette', '--no-remote', '--profile', profile], { stdio: 'ignore' });
  const port = await until('Firefox says its port', 30, () => {
    try {
      return Number(readFileSync(join(profile, 'MarionetteActivePort'), 'utf8'));
    } catch {
      return undefined;
    }
  });
  const socket = await until('Firefox answers', 10, () => new Promise((done) => {
    const made = connect(port, '127.0.0.1', () => done(made));
    made.on('error', () => done(undefined));
  }));
  const connection = new Connection(socket);
  const { capabilities } = await connection.ask('WebDriver:NewSession', { capabilities: {} });
  return {
    version: capabilities.browserVersion,
    goto: (url) => connection.ask('WebDriver:Navigate', { url }),
    evaluate: async (run) => {
      const { value } = await connection.ask('WebDriver:ExecuteScript', { script: `return (${run})();`, args: [], sandbox: null });
      return value;
    },
    async close() {
      await Promise.race([connection.ask('Marionette:Quit', { flags: ['eForceQuit'] }), new Promise((done) => { setTimeout(done, 5000); })]).catch(() => {});
      socket.destroy();
      child.kill('SIGKILL');
      rmSync(profile, { recursive: true, force: true, maxRetries: 5, retryDelay: 200 });
    },
  };
}
