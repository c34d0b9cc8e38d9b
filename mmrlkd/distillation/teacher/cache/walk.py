"""Reads all keys of an LMDB file, in a process of its own.

    python walk.py FOLDER

LMDB maps its file into memory and trusts its pages: a damaged one can end the
process that reads it. So a training lets this one go first. It imports nothing
but lmdb, and exits with 0, or with 1 and a sentence; a signal means damage, too.
"""

import os
import sys

#: The entry that tells the cache from other programs' files.
MARK = b'mmrlkd teacher cache'


def walk(folder: str) -> str:
    """What is wrong with a file; empty if nothing is."""
    import lmdb  # this package does without, where no cache is used
    file = os.path.join(folder, 'data.mdb')
    try:
        with lmdb.open(folder, readonly=True, max_readers=512) as env:
            page, last = env.stat()['psize'], env.info()['last_pgno']
            complete = os.path.getsize(file) >= (last + 1) * page
            with env.begin(buffers=True) as txn:
                if txn.stat()['entries'] and txn.get(MARK) is None:
                    return 'holds entries of another program'
                for _, value in txn.cursor():
                    # Pages that were never used may be missing at the end.
                    complete or value[-1:]
        # Reads the list of free pages as well; adds nothing.
        with lmdb.open(folder, map_size=(last + 64) * page + 2**24,
                       max_readers=512) as env:
            adding = env.begin(write=True)
            adding.put(b'probe', bytes(2**16))
            adding.abort()
    except lmdb.Error as error:
        return f'cannot be read ({error})'
    return ''


if __name__ == '__main__':
    sys.exit(walk(sys.argv[1]) or 0)
