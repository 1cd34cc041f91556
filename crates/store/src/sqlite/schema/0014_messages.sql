-- For groups numbered behind :after, up to :last, in the order of the index.
UPDATE messages SET offset = o.nth
FROM (SELECT number, row_number() OVER (PARTITION BY group_number ORDER BY at, number) AS nth
      FROM messages WHERE group_number > :after AND group_number <= :last) AS o
WHERE messages.number = o.number;
