import sys

from softpoint.cli.benchmark import run

run(sys.argv[1:])
