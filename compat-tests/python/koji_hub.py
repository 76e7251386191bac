"""A process of Koji's hub for tests: loads a plugin as the hub does and runs its callbacks in the hub's order.

Koji's own `koji.plugin` and `koji.context` do the work; `application` in Koji's kojixmlrpc.py is the model of the order.
Reads a request per line from standard input, and writes a line with its result to standard output:

    {"callbacks": [[TYPE, {ARGUMENT: VALUE}], ...], "end": "commit" | "rollback" | "read", "threads": N, "times": N}
    {"seconds": [SECONDS OF run_callbacks("postCommit")...], "errors": [TEXT...]}

The value "{n}" stands for a number, from `first` on, that is one higher each time.
"""
import argparse
import json
import logging
import os
import socket
import sys
import threading
import time
import traceback

import koji.plugin
from koji.context import context


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument('--plugins', required=True)
    parser.add_argument('--config', required=True)
    parser.add_argument('--silent-resolver', action='store_true', help='a name server on 127.0.0.1 that never answers')
    parser.add_argument('--slow-disk', type=float, default=0, help='seconds that each rename of a file takes')
    arguments = parser.parse_args()
    logging.basicConfig(format='%(levelname)s %(name)s %(message)s')
    if arguments.silent_resolver:
        resolver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        resolver.bind(('127.0.0.1', 53))
    if arguments.slow_disk:
        make_renames_slow(arguments.slow_disk)

    # As load_plugins, get_registry and HandlerRegistry.register_plugin.
    plugin = koji.plugin.PluginTracker(path=arguments.plugins.split(':')).load('darkserver')
    plugin.CONFIG_FILE = arguments.config
    for function in vars(plugin).values():
        if isinstance(function, type) or not callable(function):
            continue
        for cbtype in getattr(function, 'callbacks', None) or ():
            koji.plugin.register_callback(cbtype, function)

    print('ready', flush=True)
    for line in sys.stdin:
        print(json.dumps(run(json.loads(line))), flush=True)


def make_renames_slow(seconds):
    rename = os.rename

    def slow(*arguments):
        time.sleep(seconds)
        rename(*arguments)
    os.rename = slow


def run(order):
    seconds, errors = [], []
    numbers = iter(range(order.get('first', 1), sys.maxsize))
    lock = threading.Lock()

    def work():
        for _ in range(order.get('times', 1)):
            with lock:
                number = next(numbers)
            try:
                taken = request(fill(order['callbacks'], number), order['end'])
                with lock:
                    seconds.append(taken)
            except BaseException:
                with lock:
                    errors.append(traceback.format_exc())
    threads = [threading.Thread(target=work) for _ in range(order.get('threads', 1))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return {'seconds': seconds, 'errors': errors}


def fill(value, number):
    if isinstance(value, list):
        return [fill(part, number) for part in value]
    if isinstance(value, dict):
        return {name: fill(part, number) for name, part in value.items()}
    return number if value == '{n}' else value


def request(callbacks, end):
    """One request of the hub. Returns the seconds that its callbacks after the commit took."""
    context._threadclear()
    try:
        for cbtype, arguments in callbacks:
            koji.plugin.run_callbacks(cbtype, **arguments)
        if end != 'commit':
            return 0
        koji.plugin.run_callbacks('preCommit')
        start = time.monotonic()
        koji.plugin.run_callbacks('postCommit')
        return time.monotonic() - start
    finally:
        context._threadclear()


if __name__ == '__main__':
    main()
