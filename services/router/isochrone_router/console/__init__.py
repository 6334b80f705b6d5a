"""The console: a page on the admin port that shows how the whole router is doing, live.

part      what one process has to say: its counts, lanes and nodes
whole     pure: the parts of all processes, put together for the page
siblings  asks the other processes of a router for their parts
server    the page's files and its data over HTTP
page      what the browser gets
"""
