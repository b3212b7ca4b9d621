"""The limit of a POST: Flask on our waitress, answering each body with itself. A child process of the bench."""

import os

from flask import Flask, Response, request

from live.server import Server


def echo() -> Response:
    """The body, again."""
    return Response(request.get_data(), mimetype="application/json")


def main() -> None:
    """Serve on a free port, and say which."""
    app = Flask("echo", static_folder=None)
    app.add_url_rule("/webhook", "echo", echo, methods=["POST"])
    server = Server(app, "127.0.0.1", 0)
    os.write(1, f"ready on http://127.0.0.1:{server.port}\n".encode())
    server.serve()


if __name__ == "__main__":
    main()
