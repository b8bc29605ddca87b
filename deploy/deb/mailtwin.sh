#!/bin/sh
exec /usr/lib/mailtwin/bin/node /usr/lib/mailtwin/dist/tools/cli/main.js "$@"
