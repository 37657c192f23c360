"""PFA as a service: a web server that takes a network and images, and returns a smaller network.

``server.serve`` starts it. ``application`` builds the FastAPI app from ``api`` (JSON) and ``pages``
(HTML); ``access`` decides who may send what. ``job_queue`` keeps the jobs (``job_records``) on the
disk and runs each one in a process of its own (``workers``) with ``workbench adapt``. Uploads are
checked by ``zip_uploads`` before ``upload_store`` keeps them. This package trains nothing itself
and imports FastAPI only where the server is built.
"""
