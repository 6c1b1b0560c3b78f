"""Ask an S3 store for keys that run out, as AWS's STS gives them.

usage: assume_role.py ENDPOINT REGION  (keys in AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY)

Prints {"access_key_id", "secret_access_key", "session_token"}.
"""

import datetime
import hashlib
import hmac
import json
import os
import re
import sys
import urllib.parse
import urllib.request


def digest(key, text):
    return hmac.new(key, text.encode(), hashlib.sha256).digest()


def main():
    endpoint, region = sys.argv[1:]
    body = urllib.parse.urlencode({"Action": "AssumeRole", "Version": "2011-06-15", "DurationSeconds": "900"})
    host = urllib.parse.urlsplit(endpoint).netloc
    now = datetime.datetime.now(datetime.timezone.utc)
    time, day = now.strftime("%Y%m%dT%H%M%SZ"), now.strftime("%Y%m%d")
    scope = f"{day}/{region}/sts/aws4_request"
    form = "application/x-www-form-urlencoded"
    canonical = f"POST\n/\n\ncontent-type:{form}\nhost:{host}\nx-amz-date:{time}\n\ncontent-type;host;x-amz-date\n"
    canonical += hashlib.sha256(body.encode()).hexdigest()
    to_sign = f"AWS4-HMAC-SHA256\n{time}\n{scope}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
    key = ("AWS4" + os.environ["AWS_SECRET_ACCESS_KEY"]).encode()
    for part in (day, region, "sts", "aws4_request"):
        key = digest(key, part)
    signature = digest(key, to_sign).hex()
    credential = f"{os.environ['AWS_ACCESS_KEY_ID']}/{scope}"
    headers = {
        "Content-Type": form,
        "X-Amz-Date": time,
        "Authorization": f"AWS4-HMAC-SHA256 Credential={credential}, SignedHeaders=content-type;host;x-amz-date, Signature={signature}",
    }
    with urllib.request.urlopen(urllib.request.Request(f"{endpoint}/", body.encode(), headers)) as answer:
        text = answer.read().decode()
    words = {"access_key_id": "AccessKeyId", "secret_access_key": "SecretAccessKey", "session_token": "SessionToken"}
    json.dump({name: re.search(f"<{word}>(.*?)</{word}>", text).group(1) for name, word in words.items()}, sys.stdout)


main()
