"""A security token service over TLS: takes one web identity token, and gives keys that a MinIO made for an hour.

    token_service.py PORT CERTIFICATE KEY STORE ACCESS_KEY SECRET_KEY REGION TOKEN
"""

import datetime
import hashlib
import hmac
import re
import ssl
import sys
import urllib.parse
import urllib.request
from http.server import BaseHTTPRequestHandler, HTTPServer

port, certificate, key, store, access_key, secret_key, region, token = sys.argv[1:]


class Service(BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
        asked = dict(urllib.parse.parse_qsl(urllib.parse.urlparse(self.path).query))
        asked.update(urllib.parse.parse_qsl(body))
        if asked.get("Action") != "AssumeRoleWithWebIdentity" or asked.get("WebIdentityToken") != token:
            print("refused a token", flush=True)
            return self.answer(403, "<Error><Code>InvalidIdentityToken</Code></Error>")
        given = re.search("<Credentials>.*</Credentials>", assume_role(), re.DOTALL).group()
        print("gave a key to", asked["RoleArn"], flush=True)
        kind = "AssumeRoleWithWebIdentity"
        self.answer(200, f"<{kind}Response><{kind}Result>{given}</{kind}Result></{kind}Response>")

    do_GET = do_POST

    def answer(self, status, text):
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())


def assume_role():
    """The store's own answer to AssumeRole, asked with its root key (signature version 4)."""
    body = "Action=AssumeRole&Version=2011-06-15&DurationSeconds=3600"
    host = urllib.parse.urlparse(store).netloc
    now = datetime.datetime.now(datetime.timezone.utc)
    date, time = now.strftime("%Y%m%d"), now.strftime("%Y%m%dT%H%M%SZ")
    digest = hashlib.sha256(body.encode()).hexdigest()
    headers = f"content-type:application/x-www-form-urlencoded\nhost:{host}\nx-amz-date:{time}\n"
    names = "content-type;host;x-amz-date"
    request = f"POST\n/\n\n{headers}\n{names}\n{digest}"
    scope = f"{date}/{region}/sts/aws4_request"
    to_sign = f"AWS4-HMAC-SHA256\n{time}\n{scope}\n{hashlib.sha256(request.encode()).hexdigest()}"
    signing = f"AWS4{secret_key}".encode()
    for part in (date, region, "sts", "aws4_request", to_sign):
        signing = hmac.new(signing, part.encode(), hashlib.sha256).digest()
    authorization = (
        f"AWS4-HMAC-SHA256 Credential={access_key}/{scope}, SignedHeaders={names}, Signature={signing.hex()}"
    )
    sent = {"Content-Type": "application/x-www-form-urlencoded", "X-Amz-Date": time, "Authorization": authorization}
    with urllib.request.urlopen(urllib.request.Request(store + "/", body.encode(), sent)) as answer:
        return answer.read().decode()


def main():
    server = HTTPServer(("127.0.0.1", int(port)), Service)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    print("serving", flush=True)
    server.serve_forever()


main()
