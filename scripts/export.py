from softpoint.cli.export import run

run()
