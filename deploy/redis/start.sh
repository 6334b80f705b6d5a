#!/bin/sh
# Gives the mesh's user the password of the environment, as its hash, and becomes Redis. An ACL file can't read the
# environment, and a command line can be read by everybody.
set -eu
umask 077
hash=$(printf '%s' "${ISOCHRONE_REDIS_PASSWORD:?}" | sha256sum | cut -d ' ' -f 1)
sed "s/PASSWORD_SHA256/$hash/" /etc/redis/users.acl > /tmp/users.acl
exec redis-server /etc/redis/redis.conf
