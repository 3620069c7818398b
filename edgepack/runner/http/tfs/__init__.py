"""The REST API of TensorFlow Serving: predict, status, metadata, its errors word for word.

`routes` is the table, `document` and `request` read what came, `response` writes the answer. A
client written for TensorFlow Serving works unchanged. Used by `serving`.
"""
