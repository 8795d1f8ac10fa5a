"""Waits up to half a minute for a 200: wait_http.py URL."""

import sys
import time
import urllib.request

deadline = time.monotonic() + 30
direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
while True:
    try:
        with direct.open(sys.argv[1], timeout=5) as answer:
            if answer.status == 200:
                break
    except OSError as error:
        if time.monotonic() > deadline:
            sys.exit(f"{sys.argv[1]}: {error}")
    time.sleep(0.1)
