from softpoint.cli.pack import run

run()
