from softpoint.cli.predict import run

run()
