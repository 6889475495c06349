// @kubernetes/client-node: an informer, an object of any kind applied, and a command in a running container.

import assert from 'node:assert/strict';
import { createRequire } from 'node:module';
import { PassThrough, Readable } from 'node:stream';
import { text } from 'node:stream/consumers';
import { pathToFileURL } from 'node:url';

// The package lies where the project's setup put it, not beside this file.
const from = createRequire(`${process.env.CLIENTS}/`);
const k8s = await import(pathToFileURL(from.resolve('@kubernetes/client-node')));

const NAMESPACE = 'javascript';
const WAIT_MS = 60_000;

const config = new k8s.KubeConfig();
config.loadFromDefault();
const core = config.makeApiClient(k8s.CoreV1Api);
const objects = k8s.KubernetesObjectApi.makeApiClient(config);

/** What was told, in order; `next` waits for one more. */
class Told {
    #events = [];
    #waiting = [];

    push(event) {
        const waiting = this.#waiting.shift();
        waiting ? waiting(event) : this.#events.push(event);
    }

    next() {
        if (this.#events.length > 0) return this.#events.shift();
        return new Promise((resolve, reject) => {
            const timer = setTimeout(() => reject(new Error('no event in time')), WAIT_MS);
            this.#waiting.push((event) => {
                clearTimeout(timer);
                resolve(event);
            });
        });
    }
}

async function informs() {
    const map = (data) => ({ metadata: { name: 'one' }, data });
    await core.createNamespacedConfigMap({ namespace: NAMESPACE, body: { metadata: { name: 'before' } } });
    const list = () => core.listNamespacedConfigMap({ namespace: NAMESPACE });
    const informer = k8s.makeInformer(config, `/api/v1/namespaces/${NAMESPACE}/configmaps`, list);
    const told = new Told();
    for (const verb of ['add', 'update', 'delete']) {
        // Controllers put a map with the CA into every namespace.
        informer.on(verb, (object) => {
            if (object.metadata.name !== 'kube-root-ca.crt') told.push([verb, object.metadata.name, object.data?.k]);
        });
    }
    informer.on('error', (error) => told.push(['error', String(error)]));
    await informer.start();
    assert.deepEqual(await told.next(), ['add', 'before', undefined]);
    await core.createNamespacedConfigMap({ namespace: NAMESPACE, body: map({ k: '1' }) });
    assert.deepEqual(await told.next(), ['add', 'one', '1']);
    await core.replaceNamespacedConfigMap({ name: 'one', namespace: NAMESPACE, body: map({ k: '2' }) });
    assert.deepEqual(await told.next(), ['update', 'one', '2']);
    assert.equal(informer.get('one', NAMESPACE).data.k, '2');
    await core.deleteNamespacedConfigMap({ name: 'one', namespace: NAMESPACE });
    assert.deepEqual(await told.next(), ['delete', 'one', '2']);
    await informer.stop();
}

async function applies() {
    const metadata = { name: 'applied', namespace: NAMESPACE };
    const apply = (manager, data, force) => {
        const spec = { apiVersion: 'v1', kind: 'ConfigMap', metadata, data };
        return objects.patch(spec, undefined, undefined, manager, force, k8s.PatchStrategy.ServerSideApply);
    };
    assert.deepEqual((await apply('first', { a: '1' })).data, { a: '1' });
    await assert.rejects(apply('second', { a: '2' }), (error) => error.code === 409);
    assert.deepEqual((await apply('second', { a: '2' }, true)).data, { a: '2' });
    const read = await objects.read({ apiVersion: 'v1', kind: 'ConfigMap', metadata });
    assert.deepEqual(read.data, { a: '2' });
}

async function runs() {
    const container = { name: 'main', image: 'busybox:test', command: ['/bin/sh', '-c', 'echo started; sleep 1000000'] };
    const spec = { terminationGracePeriodSeconds: 1, containers: [container] };
    await core.createNamespacedPod({ namespace: NAMESPACE, body: { metadata: { name: 'runs' }, spec } });
    const running = new Told();
    const query = { fieldSelector: 'metadata.name=runs' };
    const seen = (_, pod) => pod.status?.phase === 'Running' && running.push(pod);
    const path = `/api/v1/namespaces/${NAMESPACE}/pods`;
    const watch = await new k8s.Watch(config).watch(path, query, seen, (error) => error && running.push(error));
    assert.equal((await running.next()).status?.phase, 'Running');
    watch.abort();

    const [out, err, status] = [new PassThrough(), new PassThrough(), new Told()];
    const command = ['/bin/sh', '-c', 'read line; echo out $line; echo err >&2; exit 3'];
    const exec = new k8s.Exec(config);
    const input = Readable.from(['in\n']);
    const done = (answer) => {
        status.push(answer);
        out.end();
        err.end();
    };
    await exec.exec(NAMESPACE, 'runs', 'main', command, out, err, input, false, done);
    const { status: word, details } = await status.next();
    assert.equal(word, 'Failure');
    assert.deepEqual(details.causes, [{ reason: 'ExitCode', message: '3' }]);
    assert.equal(await text(out), 'out in\n');
    assert.equal(await text(err), 'err\n');
    assert.equal(await core.readNamespacedPodLog({ name: 'runs', namespace: NAMESPACE }), 'started\n');
}

await core.createNamespace({ body: { metadata: { name: NAMESPACE } } });
await informs();
await applies();
if (!process.argv.includes('--no-containers')) await runs();
await core.deleteNamespace({ name: NAMESPACE });
// The package keeps connections open that would keep this process alive.
process.exit(0);
