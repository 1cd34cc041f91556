// A proxy that does to connections what networks do: it cuts them, lets them go silent, slows them, and takes no new ones.

import { once } from 'node:events';
import net from 'node:net';

export async function startProxy({ host, port }) {
  const pairs = new Set();
  let closed = false;

  const listening = net.createServer((near) => {
    if (closed) return near.destroy();
    const far = net.connect({ host, port });
    const pair = { near, far, silent: false, delay: 0 };
    pairs.add(pair);
    const end = () => {
      pairs.delete(pair);
      near.destroy();
      far.destroy();
    };
    for (const [from, to] of [[near, far], [far, near]]) {
      let sent = Promise.resolve(); // what is slowed keeps its order
      from.on('data', (data) => {
        if (pair.silent) return;
        if (!pair.delay) return void to.write(data);
        sent = sent.then(() => new Promise((resolve) => setTimeout(resolve, pair.delay))).then(() => pair.silent || to.destroyed || to.write(data));
      });
      from.on('close', () => pair.silent || end());
      from.on('error', () => pair.silent || end());
    }
    pair.end = end;
  });
  listening.listen(0, '127.0.0.1');
  await once(listening, 'listening');

  const any = (random) => [...pairs].filter(({ silent }) => !silent)[Math.floor(random() * pairs.size)];
  return {
    origin: `http://127.0.0.1:${listening.address().port}`,
    /** Breaks a connection; both ends notice. */
    cut: (random) => any(random)?.end(),
    /** Nothing passes any more, and neither end is told. */
    silence(random) {
      const pair = any(random);
      if (pair) pair.silent = true;
    },
    slow(random) {
      const pair = any(random);
      if (pair && !pair.delay) pair.delay = 20 + Math.floor(random() * 200);
    },
    refuse(is) {
      closed = is;
    },
    stop() {
      listening.close();
      for (const { near, far } of pairs) {
        near.destroy();
        far.destroy();
      }
    },
  };
}
