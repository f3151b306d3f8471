"""From images to what vLLM's engine takes, in processes of their own.

Decoding, resizing and cutting a page into patches costs tens of milliseconds of one core, and threads share one: a GPU
would wait for them. So a fork server (`fork_server`) imports vLLM once and forks workers (`worker`), and the pool
(`pool`) hands them images and gets rendered inputs back (`channel`), all beside the event loop that feeds vLLM.
"""
