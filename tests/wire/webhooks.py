"""The examples for senders and receivers of webhooks go through a rotation, and through an emergency."""

import contextlib
import datetime
import http.server
import socket
import threading
import time
import urllib.error
import urllib.request

from examples import configured, load, run, running
from world import Local, wait_until

SECRET = "hooks/orders"
# In seconds, on real time.
OVERLAP, CACHE = 5, 2
TAGS = {"overlap": f"PT{OVERLAP}S", "consumer_cache": f"PT{CACHE}S"}


def the_examples_for_webhooks_run_as_they_stand():
    with Local() as local:
        local.declare("webhook-secret", SECRET)
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        url = f"http://127.0.0.1:{port}/"
        with running(local, "webhook_receiver", SECRET_ID=SECRET, PORT=str(port)):
            wait_until("the receiver refuses what nobody signed", lambda: status(url) == 401)
            assert run(local, "webhook_sender", SECRET_ID=SECRET, WEBHOOK_URL=url, CALLS="3") == ["204"] * 3


def webhooks_go_through_a_rotation():
    with Local() as local, configured(local):
        old = local.declare("webhook-secret", SECRET, **TAGS)
        assert "alsoSigning" not in old, old.keys()
        # One of each that reads the secret at once, and one that keeps it for as long as it may.
        senders = [load("webhook_sender").Sender(SECRET, max_age) for max_age in (0, CACHE)]
        receivers = [load("webhook_receiver").Receiver(SECRET, max_age) for max_age in (0, CACHE)]
        for receiver in receivers:
            receiver._doubted_at = float("inf")  # no signature makes it read sooner
        stolen = forger(old)
        with contextlib.ExitStack() as stack:
            urls, messages = zip(*(stack.enter_context(served(receiver)) for receiver in receivers))
            sent = 0

            def everybody():
                nonlocal sent
                for sender in senders:
                    for url, told in zip(urls, messages, strict=True):
                        before = len(told)
                        sender.send(url, {"sent": sent})
                        assert [status for status, _ in told[before:]] == [204], "accepted at once"
                        sent += 1
                return True

            everybody()
            new = local.rotate(SECRET)
            assert new["alsoSigning"] == old["signing"] and new["signing"] != old["signing"]
            until = datetime.datetime.fromisoformat(new["until"])
            everybody()
            assert stolen.send(urls[0], {}) == 204, "the old secret is good until its overlap is over"
            senders[0].send(urls[0], {})
            assert messages[0][-1] == (204, 2), "signed with both"
            over = until + datetime.timedelta(seconds=CACHE)
            wait_until("the overlap is over", lambda: everybody() and now() > over, every=0.05)
            assert stolen.send(urls[0], {}) == 401, "the old secret is good for nothing"
            senders[0].send(urls[0], {})
            assert messages[0][-1] == (204, 1), "signed with one"
            everybody()
        print(f"    {SECRET}: {sent} webhooks through a rotation, all accepted")


def webhooks_go_through_an_emergency():
    with Local() as local, configured(local):
        old = local.declare("webhook-secret", SECRET)
        sender, receiver = load("webhook_sender").Sender(SECRET), load("webhook_receiver").Receiver(SECRET)
        with served(receiver) as (url, _):
            assert sender.send(url, {}) == 204
            new = local.emergency(SECRET)
            assert new["signing"] != old["signing"] and "alsoSigning" not in new, "nothing signed with it is accepted"

            # Neither has read the new secret yet. A sender that has is believed: the receiver reads it, too.
            assert sender.send(url, {}) == 204
            assert load("webhook_sender").Sender(SECRET).send(url, {}) == 204
            assert forger(old).send(url, {}) == 401, "whoever has the old secret is nobody"
            # A sender that has not is refused, reads it, and gets through.
            assert sender.send(url, {}) == 204

            read = receiver._read_at
            assert [forger(old).send(url, {}) for _ in range(20)] == [401] * 20
            assert receiver._read_at == read, "rubbish makes nobody read secrets"


def forger(value):
    """A sender that knows a value and reads no other."""
    sender = load("webhook_sender").Sender(SECRET)
    sender._value, sender._refresh = value, lambda: None
    sender._read_at, sender._max_age = 0.0, float("inf")
    return sender


@contextlib.contextmanager
def served(receiver):
    """The receiver on a port: its URL, and of each message what it was answered and how many signatures it had."""
    messages = []

    class Handler(load("webhook_receiver").Handler):
        def send_response(self, status):
            messages.append((status, len(self.headers["webhook-signature"].split())))
            super().send_response(status)

        def log_message(self, *_):
            """Quiet."""

    Handler.receiver = receiver
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/", messages
        server.shutdown()


def status(url):
    """What the receiver says to a message that nobody signed; None as long as it is not there."""
    try:
        with urllib.request.urlopen(url, data=b"{}", timeout=10) as answer:
            return answer.status
    except urllib.error.HTTPError as refusal:
        return refusal.code
    except OSError:
        return None


def now():
    return datetime.datetime.fromtimestamp(time.time(), datetime.timezone.utc)


TESTS = [
    the_examples_for_webhooks_run_as_they_stand,
    webhooks_go_through_a_rotation,
    webhooks_go_through_an_emergency,
]
