#!/usr/bin/env python3
"""Queues jobs as the original's message consumer did: straight into a durable queue, as persistent messages.

    original.py URL QUEUE < LINES

Each line is the text of one job. Without lines the queue is only declared.
"""

import sys

import pika

connection = pika.BlockingConnection(pika.URLParameters(sys.argv[1]))
channel = connection.channel()
channel.queue_declare(queue=sys.argv[2], durable=True)
channel.confirm_delivery()
for line in sys.stdin:
    properties = pika.BasicProperties(delivery_mode=2)
    channel.basic_publish(exchange="", routing_key=sys.argv[2], body=line.strip(), properties=properties)
connection.close()
