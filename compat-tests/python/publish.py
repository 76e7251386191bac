#!/usr/bin/env python3
"""Publishes messages by fedora-messaging, as Koji and Bodhi do.

    publish.py URL [CA CERTIFICATE KEY] < LINES

A line is a JSON object: "schema", the name of the message's class as the header has it ("base.message": any body);
"body"; "topic", if the class has none. fedora-messaging validates a message by its schema before it sends it, and waits
until the broker has taken it. The id of each message is printed.
"""

import json
import sys
import tempfile

from fedora_messaging import api, config, message

PREFIX = "org.fedoraproject.prod"


def configure(url, tls):
    lines = [f"amqp_url = {json.dumps(url)}", 'publish_exchange = "amq.topic"', f'topic_prefix = "{PREFIX}"']
    if tls:
        ca, certificate, key = map(json.dumps, tls)
        lines += ["[tls]", f"ca_cert = {ca}", f"certfile = {certificate}", f"keyfile = {key}"]
    with tempfile.NamedTemporaryFile("w", suffix=".toml") as file:
        file.write("\n".join(lines) + "\n")
        file.flush()
        config.conf.load_config(file.name)


def main():
    configure(sys.argv[1], sys.argv[2:])
    for line in sys.stdin:
        wanted = json.loads(line)
        topic = {"topic": wanted["topic"]} if "topic" in wanted else {}
        sent = message.get_class(wanted["schema"])(body=wanted["body"], **topic)
        sent.validate()
        api.publish(sent, timeout=30)
        print(sent.id, flush=True)


main()
