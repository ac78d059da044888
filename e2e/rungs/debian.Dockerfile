# Debian's own programs: apt-get and dpkg with a package that has owners and a setuid program, then users. What tells the time of
# the day goes in the step that wrote it.
FROM scratch AS base
ADD debian.tar /

FROM base
COPY rung.deb /tmp/
RUN <<EOT
set -e
apt-get install --no-install-recommends -y /tmp/rung.deb
rm -r /tmp/rung.deb /var/log/apt /var/log/dpkg.log /var/cache/apt/*.bin /var/lib/dpkg/*-old
stat -c '%n %a %u:%g' /usr/lib/rung/id /etc/rung.conf /var/lib/rung/state
EOT
RUN SOURCE_DATE_EPOCH=0 useradd --system --uid 777 --home-dir /var/lib/rung --shell /usr/sbin/nologin rung && chown -R rung:games /var/lib/rung
RUN su -s /bin/sh -c '/usr/bin/id -un; /usr/lib/rung/id -u' rung >/var/lib/rung/id
USER rung
RUN touch /var/lib/rung/mine && mkdir /var/lib/rung/folder && ls -ln /var/lib/rung | awk 'NR > 1 { print $1, $3, $4, $NF }' >/tmp/list
USER 0
RUN dpkg -s rung | grep Status && dpkg --verify rung; dpkg --purge rung && rm -r /var/log/dpkg.log /var/lib/dpkg/*-old
