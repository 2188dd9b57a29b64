from softpoint.cli.fetch import run

run()
