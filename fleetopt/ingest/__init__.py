"""Log files in, checked requests out, and a balance that has every record: lines = requests + duplicates + quarantined.

In the order in which a file passes through:

===============================================  =====================================================================
`places`, `stores`                               which files a path, glob or URL names, on disks, in object stores, at
                                                 HTTP servers
`log_file`, `compression`                        a file, opened once: its bytes decompressed, and its hash
`formats`                                        a log's format, told from its beginning or declared (`formats.user`);
                                                 each a `mapping`: which field holds what, in which unit
`lines`, `parquet`, `spans`                      bytes, cut into `records`: where each one stands, its key, its fault
`csv_reader`, `json_reader`                      where the wanted `fields` of each record stand
`interpret`                                      what they say (`values`, `times`, `labels`, `outcomes`), as rows of
                                                 `parsed`; or why they cannot be used (`reasons`)
`segments`                                       relative clocks that start again, moved on
`reading`                                        all of the above on two threads, from a file to rows with their places
`days`                                           the UTC day that each row belongs to
`parts`                                          the rows of a source and day as Parquet files: the raw layer
`staging`, `quality`                             slices of time of it, each row a request, a repeat or unusable; and
                                                 what is unusual about them
===============================================  =====================================================================

What needs a loop over bytes is in `kernels`. Two commands go this way: `landing` does it for the sources of a
configuration and one day (`fleetopt nightly`), `files` for some files on disks (`fleetopt ingest`).
"""
