from softpoint.cli.inspect import run

run()
