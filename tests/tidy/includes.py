#!/usr/bin/env python3
"""Include arrows point one way: server -> query -> storage -> storage/base, server -> proto <- client.

Reads the #include lines of every C and C++ file, and fails on an arrow that points back, on an include that
is not written from the root, on a private header (*_int.h) of another folder (tests and benches look at a module from
inside), on two files of one name, and on a folder without a README.
usage: includes.py ROOT
"""
import collections
import os
import re
import sys

root = sys.argv[1] if len(sys.argv) > 1 else '.'
MAY = {
    'storage/base': {'storage/base'},
    'storage': {'storage', 'storage/base'},
    'query': {'query', 'storage', 'storage/base'},
    'proto': {'proto'},
    'server': {'server', 'query', 'storage', 'storage/base', 'proto'},
    'client': {'client', 'proto', 'storage', 'storage/base'},
    'bench': {'bench', 'client', 'server', 'query', 'storage', 'storage/base', 'proto'},
    'tests': {'tests', 'bench', 'client', 'server', 'query', 'storage', 'storage/base', 'proto'},
}
# client/ reads files through storage/ for these commands only
CLIENT_STORAGE = re.compile(r'client/(cmd_)?(inspect|care)')
INCLUDE = re.compile(r'^\s*#\s*include\s*"([^"]+)"', re.M)
bad = []


def area(path):
    for name in sorted(MAY, key=len, reverse=True):
        if path.startswith(name + '/'):
            return name
    return None


names = collections.defaultdict(list)
files = 0
for folder, subs, entries in os.walk(root):
    subs[:] = [s for s in subs if not s.startswith('.') and not s.startswith('build') and s != 'node_modules']
    here = os.path.relpath(folder, root)
    for entry in entries:
        path = os.path.normpath(os.path.join(here, entry))
        if not entry.endswith(('.c', '.h', '.cc')):
            continue
        files += 1
        names[entry].append(path)
        mine = area(path)
        if mine is None:
            bad.append(f'{path}: C file outside the folders of the architecture')
            continue
        text = open(os.path.join(root, path), encoding='utf-8').read()
        for inc in INCLUDE.findall(text):
            if inc.endswith('.pb-c.h'):
                if 'proto' not in MAY[mine]:
                    bad.append(f'{path}: includes a protobuf type ({inc})')
                continue
            if not os.path.exists(os.path.join(root, inc)):
                bad.append(f'{path}: "{inc}" is not written from the root, or does not exist')
                continue
            theirs = area(inc)
            if theirs not in MAY[mine]:
                bad.append(f'{path}: includes "{inc}", against the direction {mine} -> {sorted(MAY[mine])}')
            if mine == 'client' and theirs in ('storage',) and not CLIENT_STORAGE.match(path):
                bad.append(f'{path}: only inspect and care of client/ read storage ("{inc}")')
            # codec_int.h is the codec of integers, public like its siblings
            if inc.endswith('_int.h') and inc != 'storage/codec_int.h' and os.path.dirname(inc) != os.path.dirname(path) and mine not in ('tests', 'bench'):
                bad.append(f'{path}: "{inc}" is private to its folder')
for entry, paths in names.items():
    if len(paths) > 1:
        bad.append(f'file name used twice: {" ".join(paths)}')
for folder in ('server', 'storage', 'storage/base', 'query', 'proto', 'client', 'bench', 'tests'):
    if not os.path.exists(os.path.join(root, folder, 'README.md')):
        bad.append(f'{folder}: no README.md')
for line in bad:
    print(line)
print(f'{files} files, {len(bad)} problems')
sys.exit(1 if bad or files == 0 else 0)
