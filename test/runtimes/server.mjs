// Serves a checkout, and the reference data as /shared/, to the browsers of these tests and to examples/browser.
import fs from 'node:fs'
import http from 'node:http'
import path from 'node:path'
