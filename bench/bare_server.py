"""The limit of memory at rest: Flask on waitress with a connection of psycopg2, nothing of ours. A child of the bench."""

import os
import sys

import psycopg2
import waitress
from flask import Flask, Response, request

THREADS = 64


def main() -> None:
    """Serve on a free port, and say which."""
    app, connection = Flask("bare", static_folder=None), psycopg2.connect(sys.argv[1])

    def keep() -> Response:
        with connection, connection.cursor() as cursor:
            cursor.execute("SELECT %s", (request.get_data().decode(),))
            return Response(str(cursor.fetchone()), mimetype="text/plain")

    app.add_url_rule("/webhook", "keep", keep, methods=["POST"])
    server = waitress.create_server(app, host="127.0.0.1", port=0, threads=THREADS)
    os.write(1, f"ready on http://127.0.0.1:{server.effective_port}\n".encode())
    server.run()


if __name__ == "__main__":
    main()
